"""A broken filing is read only where no figure can be lost, and a hostile one not at all."""

from __future__ import annotations

import contextlib
import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.enrichment.sources.edgar.filing_xml import MAX_REPAIRED, OwnershipError
from services.enrichment.sources.edgar.ownership import parse_ownership

ROW = """<nonDerivativeTransaction>
<securityTitle><value>Common</value></securityTitle>
<transactionDate><value>2024-03-01</value></transactionDate>
<transactionCoding><transactionCode>S</transactionCode></transactionCoding>
<transactionAmounts><transactionShares><value>10</value></transactionShares>\
<transactionPricePerShare><value>2.5</value></transactionPricePerShare></transactionAmounts>
</nonDerivativeTransaction>"""
SOUND = f"""<?xml version="1.0"?>
<ownershipDocument><schemaVersion>X0508</schemaVersion><documentType>4</documentType>
<periodOfReport>2024-03-01</periodOfReport>
<issuer><issuerCik>0000000007</issuerCik><issuerName>Acme</issuerName></issuer>
<reportingOwner><reportingOwnerId><rptOwnerCik>0000000009</rptOwnerCik>
<rptOwnerName>DOE JANE</rptOwnerName></reportingOwnerId></reportingOwner>
<nonDerivativeTable>{ROW}{ROW}</nonDerivativeTable></ownershipDocument>"""


def damaged(old: str, new: str) -> bytes:
    assert old in SOUND
    return SOUND.replace(old, new, 1).encode()


BREAKS = {
    "value not closed": ("</value></transactionShares>", "</transactionShares>"),
    "field not closed": ("</value></transactionShares>", "</value>"),
    "wrong end tag": ("</transactionShares>", "</transactionShare>"),
    "end tag without >": ("</transactionShares>", "</transactionShares"),
    "end tag twice": ("</transactionShares>", "</transactionShares></transactionShares>"),
    "begin tag twice": ("<transactionShares>", "<transactionShares><transactionShares>"),
    "value not opened": ("<transactionShares><value>", "<transactionShares>"),
    "wrapper not opened": ("<transactionAmounts>", ""),
    "row not closed": ("</nonDerivativeTransaction>", ""),
    "stray ampersand": ("<value>Common</value>", "<value>R&D < 5 Common</value>"),
    "undefined entity": ("<value>Common</value>", "<value>Common&nbsp;Stock</value>"),
}


@pytest.mark.parametrize("kind", BREAKS)
def test_broken_tags_change_no_figure(kind: str) -> None:
    rows = parse_ownership(damaged(*BREAKS[kind])).transactions
    figures = [(row.shares, row.price, row.code) for row in rows]
    assert figures == [(Decimal(10), Decimal("2.5"), "S")] * 2


LOSSES = {
    "field not opened": ("<transactionShares>", ""),
    "row not opened": ("<nonDerivativeTransaction>", ""),
    "rows run together": ("</nonDerivativeTransaction><nonDerivativeTransaction>", ""),
    "cut off": ("</ownershipDocument>", ""),
    "no number": ("<value>10</value>", "<value>ten</value>"),
    "a sign": ("<value>10</value>", "<value>-10</value>"),
    "an exponent": ("<value>10</value>", "<value>1e9</value>"),
    "no date": ("<value>2024-03-01</value>", "<value>2024-02-30</value>"),
    "no issuer": ("<issuerCik>0000000007</issuerCik>", ""),
    "another form": ("<documentType>4<", "<documentType>144<"),
}


@pytest.mark.parametrize("kind", LOSSES)
def test_a_document_that_lost_something_is_refused(kind: str) -> None:
    with pytest.raises(OwnershipError):
        parse_ownership(damaged(*LOSSES[kind]))


def test_a_document_without_a_reporting_owner_is_refused_for_that() -> None:
    start, end = SOUND.index("<reportingOwner>"), SOUND.index("<nonDerivativeTable>")
    with pytest.raises(OwnershipError, match="names no reporting owner"):
        parse_ownership((SOUND[:start] + SOUND[end:]).encode())


BOMB = """<!DOCTYPE a [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>"""
FILE = """<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>"""


@pytest.mark.parametrize("declaration", [BOMB, FILE, "<!doctype a>"])
def test_declarations_are_refused(declaration: str) -> None:
    with pytest.raises(OwnershipError, match="DOCTYPE"):
        parse_ownership(damaged('<?xml version="1.0"?>', declaration))


def test_a_declaration_hidden_by_an_encoding_is_refused() -> None:
    hidden = '<?xml version="1.0" encoding="UTF-7"?>+ADwAIQ-DOCTYPE a+AD4-'
    with pytest.raises(OwnershipError, match="DOCTYPE"):
        parse_ownership(damaged('<?xml version="1.0"?>', hidden))


@pytest.mark.parametrize(
    ("declaration", "used"),
    [
        ('<!DOCTYPE a SYSTEM "file:///missing">', ""),
        ('<!DOCTYPE a [<!ENTITY x SYSTEM "file:///missing">]>', "&x;"),
    ],
    ids=["DTD", "entity"],
)
def test_what_a_hidden_declaration_names_is_not_loaded(declaration: str, used: str) -> None:
    hidden = '<?xml version="1.0" encoding="UTF-7"?>' + declaration.replace("<!", "+ADwAIQ-")
    sent = damaged('<?xml version="1.0"?>', hidden)
    # To load what is missing would break the document, and this one is too large to repair.
    text = f"<issuerName>{used}{'x' * MAX_REPAIRED}".encode()
    with pytest.raises(OwnershipError, match="DOCTYPE"):
        parse_ownership(sent.replace(b"<issuerName>", text))


def test_html_is_refused_by_name() -> None:
    with pytest.raises(OwnershipError, match="HTML"):
        parse_ownership(b"<!DOCTYPE html><html><body>Form 4</body></html>")


def test_a_document_over_10_mb_is_refused() -> None:
    with pytest.raises(OwnershipError, match="10 MB"):
        parse_ownership(SOUND.encode() + b" " * 10 * 1024 * 1024)


def test_a_document_of_something_else_is_refused() -> None:
    with pytest.raises(OwnershipError, match="ownershipDocument"):
        parse_ownership(b"<edgarSubmission/>")


def test_an_exhibit_in_html_does_not_disturb_a_submission() -> None:
    page = b"<DOCUMENT><!DOCTYPE html><html>Exhibit</html></DOCUMENT>"
    submission = b"<SEC-DOCUMENT><XML>\n" + SOUND.encode() + b"\n</XML>" + page
    assert len(parse_ownership(submission).transactions) == 2


def test_a_deeply_nested_document_is_refused() -> None:
    with pytest.raises(OwnershipError):
        parse_ownership(damaged("<issuerName>", "<issuerName>" + "<a>" * 1000))


@given(st.binary(max_size=300), st.integers(0, 1500))
def test_any_damage_is_read_or_refused(noise: bytes, place: int) -> None:
    sound = SOUND.encode()
    with contextlib.suppress(OwnershipError):
        parse_ownership(sound[:place] + noise + sound[place + len(noise) :])


@given(st.data())
def test_a_lost_tag_never_changes_a_figure(data: st.DataObject) -> None:
    tags = list(re.finditer(r"</?[A-Za-z]\w*>", SOUND))
    tag = data.draw(st.sampled_from(tags))
    broken = SOUND[: tag.start()] + SOUND[tag.end() :]
    with contextlib.suppress(OwnershipError):
        rows = parse_ownership(broken.encode()).transactions
        assert [(row.shares, row.price) for row in rows] == [(Decimal(10), Decimal("2.5"))] * 2
