"""A filing's parts: its XML found and repaired, its words for roles and kinds, its trades whole."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from lxml import etree  # type: ignore[import-untyped]

from services.enrichment.sources.edgar.filing_xml import (
    MAX_BYTES,
    MAX_REPAIRED,
    OwnershipError,
    local_name,
    xml_block,
)
from services.enrichment.sources.edgar.form import ReadFiling, ReportingOwner, transaction_kind
from services.enrichment.sources.edgar.ownership import parse_ownership
from services.enrichment.sources.edgar.plans import is_planned
from services.enrichment.sources.edgar.trades import trades_of
from services.enrichment.sources.findings import FieldFootnote, InsiderTrade

ROOT = b"<ownershipDocument></ownershipDocument>"
FILED = datetime(2024, 3, 2, 12, tzinfo=UTC)


def document(*parts: str, form: str = "4") -> bytes:
    inner = "".join(
        [
            f"<documentType>{form}</documentType><issuer><issuerCik>7</issuerCik></issuer>",
            "<reportingOwner><rptOwnerCik>9</rptOwnerCik><rptOwnerName>DOE JANE</rptOwnerName>",
            "<isDirector>1</isDirector></reportingOwner>",
            *parts,
        ]
    )
    return f"<ownershipDocument>{inner}</ownershipDocument>".encode()


def row(fields: str = "") -> str:
    return (
        "<nonDerivativeTransaction><securityTitle>Common</securityTitle>"
        f"{fields}</nonDerivativeTransaction>"
    )


# -- where the XML stands --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent",
    [
        b"\xef\xbb\xbf" + ROOT + b"\n",
        b"<SEC-DOCUMENT><XML>\n" + ROOT + b"\n</XML><XML>other</XML>",
        b"<XML>other</XML><XML>" + ROOT + b"</XML>",
        b"<SEC-DOCUMENT><XML>" + ROOT,
        b"<XML>" + ROOT + b"</XML>",
    ],
    ids=["alone", "first", "second", "not closed", "nothing before"],
)
def test_the_xml_is_found_in_a_submission(sent: bytes) -> None:
    assert xml_block(sent) == ROOT


def test_a_document_of_ten_megabytes_is_read_and_a_larger_one_is_not() -> None:
    assert xml_block(ROOT.ljust(MAX_BYTES)) == ROOT
    with pytest.raises(OwnershipError, match="larger than 10 MB"):
        xml_block(ROOT.ljust(MAX_BYTES + 1))


def test_html_is_known_by_its_beginning_only() -> None:
    with pytest.raises(OwnershipError, match="is HTML"):
        xml_block(b" " * 4_090 + b"<html>")
    with pytest.raises(OwnershipError, match="has no <ownershipDocument>"):
        xml_block(b" " * 4_091 + b"<html>")


def test_a_document_without_its_end_is_cut_off() -> None:
    with pytest.raises(OwnershipError, match="is cut off: </ownershipDocument> is missing"):
        parse_ownership(document().removesuffix(b"</ownershipDocument>"))


def test_comments_and_instructions_are_no_text_and_marked_words_are() -> None:
    note = '<footnote id="F1">A<!-- no --> b<b>ol</b>d<?x no?> note</footnote>'
    assert parse_ownership(document(note)).footnotes == {"F1": "A bold note"}
    assert parse_ownership(document("<remarks>T<!-- no -->e<?x no?>n</remarks>")).remarks == "Ten"


def test_a_broken_document_of_more_than_two_megabytes_is_not_repaired() -> None:
    broken = document("<remarks>" + "x" * 2 * 1024 * 1024 + "</remark>")
    with pytest.raises(OwnershipError, match="too large to repair"):
        parse_ownership(broken)


def test_a_broken_document_of_just_two_megabytes_is_repaired() -> None:
    room = MAX_REPAIRED - len(document(BROKEN))
    assert parse_ownership(document(BROKEN, " " * room)).remarks
    with pytest.raises(OwnershipError, match="too large to repair"):
        parse_ownership(document(BROKEN, " " * (room + 1)))


def test_an_element_is_known_whatever_its_namespace() -> None:
    spaced = document(row()).replace(b"<ownershipDocument>", b'<ownershipDocument xmlns="urn:a">')
    assert len(parse_ownership(spaced).transactions) == 1


def test_a_comment_has_no_name() -> None:
    assert local_name(etree.Comment("securityTitle")) == ""


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (b"x" + ROOT, "the document is not XML"),
        (b"<!--" + ROOT + b"-->", "the document is not XML"),
        (b"<a><!--" + ROOT + b"--></a>", "the document has no <ownershipDocument>"),
    ],
    ids=["no XML", "comment only", "root in a comment"],
)
def test_a_document_that_only_seems_to_have_a_root_is_refused(sent: bytes, told: str) -> None:
    with pytest.raises(OwnershipError) as refused:
        parse_ownership(sent)
    assert str(refused.value) == told


# -- what is repaired ------------------------------------------------------------------------------

BROKEN = "<remarks>R&D & 1 < 2</remarks>"


def test_stray_signs_stand_for_themselves() -> None:
    assert parse_ownership(document(BROKEN)).remarks == "R&D & 1 < 2"


@pytest.mark.parametrize(
    "attributes", ['id="F1"', "id='F1'", "id=F1", 'id="F1" id="F2"', 'x="&" id="F1"']
)
def test_attributes_of_a_broken_document_are_read_once(attributes: str) -> None:
    sent = document(BROKEN, row(f"<footnoteId {attributes}/>"))
    assert parse_ownership(sent).transactions[0].footnote_ids == ("F1",)


def test_a_quotation_mark_in_an_attribute_stands_for_itself() -> None:
    sent = document(BROKEN, row("<footnoteId id='F\"1'/>"))
    assert parse_ownership(sent).transactions[0].footnote_ids == ('F"1',)


def test_an_attribute_without_a_value_names_nothing() -> None:
    sent = document(BROKEN, row('<footnoteId id=""/>'))
    assert parse_ownership(sent).transactions[0].footnote_ids == ()


def test_comments_and_instructions_say_nothing_in_a_broken_document() -> None:
    sent = document(BROKEN, "<!-- <securityTitle> --><?x <securityTitle> ?>", row())
    assert len(parse_ownership(sent).transactions) == 1


@pytest.mark.parametrize(
    ("depth", "is_read"), [(200, True), (255, True), (256, False), (300, False)]
)
def test_a_broken_document_may_be_nested_256_deep(depth: int, is_read: bool) -> None:
    sent = document(BROKEN, "<x>" * depth)
    if is_read:
        assert parse_ownership(sent).remarks
    else:
        with pytest.raises(OwnershipError, match="nested too deeply"):
            parse_ownership(sent)


def test_a_whole_document_is_not_nested_deeper_either() -> None:
    with pytest.raises(OwnershipError, match="nested too deeply"):
        parse_ownership(document("<x>" * 300, "</x>" * 300))


@pytest.mark.parametrize(
    "tag", ["transactionShares", "nonDerivativeTransaction", "a:issuerCik", "a:b:issuerCik"]
)
def test_an_end_without_its_beginning_is_named(tag: str) -> None:
    name = tag.rpartition(":")[2]
    with pytest.raises(OwnershipError, match=f"a <{name}> has lost its beginning"):
        parse_ownership(document(BROKEN, f"</{tag}>"))


def test_ends_that_are_missing_add_no_text() -> None:
    assert parse_ownership(document("<remarks>Sold<i><b></remarks>")).remarks == "Sold"


def test_text_before_the_document_is_not_dropped_to_repair_it() -> None:
    with pytest.raises(OwnershipError, match="is not XML"):
        parse_ownership(b"x" + document(BROKEN))


def test_an_end_of_what_holds_no_value_is_dropped() -> None:
    assert parse_ownership(document(BROKEN, "</wrapper>", row())).transactions


# -- words -----------------------------------------------------------------------------------------

NOBODY = ReportingOwner(9, "DOE JANE", False, False, False, False, "CFO", "Trustee")


@pytest.mark.parametrize(
    ("owner", "role"),
    [
        (NOBODY, ""),
        (replace(NOBODY, is_director=True), "director"),
        (replace(NOBODY, is_officer=True), "officer (CFO)"),
        (replace(NOBODY, is_officer=True, officer_title=""), "officer"),
        (replace(NOBODY, is_ten_percent_owner=True), "ten percent owner"),
        (replace(NOBODY, is_other=True), "other (Trustee)"),
        (replace(NOBODY, is_other=True, other_text=""), "other"),
        (replace(NOBODY, is_director=True, is_other=True), "director, other (Trustee)"),
    ],
)
def test_a_role_is_told_in_words(owner: ReportingOwner, role: str) -> None:
    assert owner.role == role


def test_a_code_is_told_in_words() -> None:
    assert transaction_kind("S") == "open market or private sale"
    assert (transaction_kind("Q"), transaction_kind("")) == ("unknown", "not given")


NOTE = '<footnote id="F1">{}</footnote>'


@pytest.mark.parametrize(
    ("said", "planned"),
    [
        ("Sold under a Rule 10b5-1 plan.", True),
        ("Sold under a rule 10B-5(1) plan.", True),
        ("Not pursuant to a Rule 10b5-1 plan.", False),
        ("Sold in the market.", False),
    ],
)
def test_a_footnote_of_the_row_may_say_that_a_trade_was_planned(said: str, planned: bool) -> None:
    read = parse_ownership(document(row('<footnoteId id="F1"/>'), NOTE.format(said)))
    assert is_planned(read, read.transactions[0]) is planned


def test_a_footnote_of_another_row_says_nothing() -> None:
    rows = row('<footnoteId id="F2"/>'), row('<footnoteId id="F1"/>')
    read = parse_ownership(document(*rows, NOTE.format("a 10b5-1 plan")))
    assert [is_planned(read, each) for each in read.transactions] == [False, True]


# -- trades ----------------------------------------------------------------------------------------


def test_a_trade_tells_all_that_its_row_and_its_filing_say() -> None:
    fields = (
        "<transactionDate>2024-03-01</transactionDate><transactionCode>S</transactionCode>"
        "<transactionAcquiredDisposedCode>D</transactionAcquiredDisposedCode>"
        "<transactionShares>10</transactionShares>"
        '<transactionPricePerShare>2.5<footnoteId id="F1"/></transactionPricePerShare>'
        "<sharesOwnedFollowingTransaction>90</sharesOwnedFollowingTransaction>"
        '<footnoteId id="F2"/>'
    )
    read = parse_ownership(document(row(fields), NOTE.format("A note."), form="4"))
    filing = ReadFiling("a-1", date(2024, 3, 2), "https://sec.example/1", read, FILED)
    (trade,) = trades_of("Jane Doe", 7, [filing]).trades
    assert trade == InsiderTrade(
        accession_number="a-1",
        table="non_derivative",
        row=0,
        form="4",
        filing_url="https://sec.example/1",
        owner_name="DOE JANE",
        owner_cik=9,
        owner_role="director",
        security_title="Common",
        transaction_date=date(2024, 3, 1),
        transaction_code="S",
        transaction_kind="open market or private sale",
        is_market_trade=True,
        acquired_disposed="D",
        shares=Decimal(10),
        price_per_share=Decimal("2.5"),
        shares_owned_after=Decimal(90),
        under_10b5_1_plan=False,
        footnotes=("A note.",),
        fetched_at=FILED,
        footnotes_by_field=(FieldFootnote("price_per_share", "A note."),),
    )


def test_a_trade_without_a_date_comes_last() -> None:
    dated = row("<transactionDate>2024-03-01</transactionDate>")
    read = parse_ownership(document(row(), dated))
    trades = trades_of("Jane Doe", 7, [ReadFiling("a-1", None, "", read)]).trades
    assert [trade.transaction_date for trade in trades] == [date(2024, 3, 1), None]


def test_nobody_has_no_trades_and_no_match() -> None:
    found = trades_of(
        "Boris Nowhere", 7, [ReadFiling("a-1", None, "", parse_ownership(document()))]
    )
    assert (found.trades, found.superseded, found.owner_matches) == ((), (), ())
