"""Odd and broken documents: each is read rightly, or refused with its reason."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from services.enrichment.sources.edgar.filing_xml import OwnershipError
from services.enrichment.sources.edgar.form import (
    FieldNote,
    OwnershipDocument,
    ReadFiling,
    Transaction,
)
from services.enrichment.sources.edgar.ownership import parse_ownership
from services.enrichment.sources.edgar.plans import is_planned
from services.enrichment.sources.edgar.trades import trades_of

GIVEN = Path(__file__).parent / "documents"


def content(name: str) -> bytes:
    return (GIVEN / f"{name}.xml").read_bytes()


def read(name: str) -> OwnershipDocument:
    return parse_ownership(content(name))


def first(name: str) -> Transaction:
    return read(name).transactions[0]


REFUSED = {
    "lost_value_start": "the document's <transactionShares> cannot be read",
    "code_end_lost_slash": "the document is broken: a <transactionCode> has lost its end",
    "thousands_separator": "the document's <transactionPricePerShare> cannot be read",
    "owner_cut": "the document's type is not one of 3, 3/A, 4, 4/A, 5, 5/A",
    "cik_text": "the document's <issuerCik> cannot be read",
    "two_documents": "the file holds two documents: which of them counts is not known",
    "dollar_sign": "the document's <transactionPricePerShare> cannot be read",
    "negative": "the document's <transactionShares> cannot be read",
    "exponent": "the document's <transactionShares> cannot be read",
    "datetime": "the document's <transactionDate> cannot be read",
}
NOT_THE_USUAL_ROW = {
    "codes_I_W",
    "future_year_2035",
    "lowercase_note_id",
    "markup_in_note",
    "missing_transactionDate_value",
    "no_transaction_coding",
    "plan_denied_no",
    "plan_minus_sign",
    "plan_terminated",
    "price_range_note",
    "dangling_notes",
    "value_then_footnote",
    "year_0022",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_with_certainty_is_refused_for_its_reason(name: str) -> None:
    with pytest.raises(OwnershipError) as refused:
        read(name)
    assert str(refused.value) == REFUSED[name]


EVERY = {path.stem for path in GIVEN.iterdir()}


@pytest.mark.parametrize(
    "name",
    sorted(EVERY - REFUSED.keys() - NOT_THE_USUAL_ROW - {"no_securities", "form5_late_holding"}),
)
def test_what_is_odd_beside_the_row_changes_no_figure_of_it(name: str) -> None:
    row = first(name)
    figures = (row.code, row.shares, row.price, row.shares_owned_after, row.transaction_date)
    assert figures == ("S", Decimal(100), Decimal("10.5"), Decimal(900), date(2024, 3, 15))


@pytest.mark.parametrize("name", ["bad_declaration_drops_amp", "missing_declaration_end"])
def test_a_broken_declaration_drops_no_character(name: str) -> None:
    document = read(name)
    assert (document.issuer.name, document.footnotes) == ("ACME & CO", {"F1": "P&L <5%"})


NOTES = {
    "cp1252_undeclared": "director\u2019s trust",
    "control_char": "abc",
    "html_entities": "Mu\u00f1oz Trust \u2014 see",
    "cdata": "A & B < C",
    "markup_in_note": "Held by the Roe Family Trust.",
}


@pytest.mark.parametrize("name", NOTES)
def test_a_text_is_what_its_writer_meant(name: str) -> None:
    assert read(name).footnotes == {"F1": NOTES[name]}


@pytest.mark.parametrize(
    "name",
    ["char_reference", "latin1_declared", "cp1252_undeclared", "utf8_bom", "utf16",
     "bare_amp_and_utf8_accents"],
)  # fmt: skip
def test_a_name_is_read_in_every_encoding(name: str) -> None:
    assert read(name).owners[0].name == "Mu\u00f1oz Jos\u00e9"


@pytest.mark.parametrize(
    ("name", "issuer"), [("bare_ampersand", "AT&T & Sons"), ("bare_amp_and_utf8_accents", "AT&T")]
)
def test_a_bare_ampersand_is_kept(name: str, issuer: str) -> None:
    assert read(name).issuer.name == issuer


@pytest.mark.parametrize("mark", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_read_with_and_without_its_mark(mark: str) -> None:
    text = content("utf8_bom").decode("utf-8-sig")
    assert parse_ownership(text.encode(mark)) == read("utf8_bom")


def test_an_encoding_that_is_declared_and_is_not_so_is_not_believed() -> None:
    said = content("utf8_bom").replace(b'"1.0"', b'"1.0" encoding="UTF-16"')
    assert parse_ownership(said) == read("utf8_bom")


@pytest.mark.parametrize(
    "declaration",
    [
        '<?xml version="1.0" encoding="UTF-8>',
        '<xml version="1.0"?>',
        '?xml version="1.0"?>',
        '< ?xml version="1.0" ?>',
        "<?xml?>",
        '<?xml version="1.0" encoding="UTF-8" standalone="no"',
    ],
)
def test_a_declaration_may_be_broken_in_any_way(declaration: str) -> None:
    sound = content("html_entities")
    broken = sound.replace(b'<?xml version="1.0"?>', declaration.encode())
    assert parse_ownership(broken.replace(b"ACME CORP", b"A &amp; B")).issuer.name == "A & B"


def test_utf_8_is_read_as_such_though_latin_1_is_declared() -> None:
    said = content("utf8_bom").replace(b'"1.0"', b'"1.0" encoding="ISO-8859-1"')
    assert parse_ownership(said.removeprefix(b"\xef\xbb\xbf")) == read("utf8_bom")


def test_markup_in_remarks_is_text() -> None:
    marked = content("cdata").replace(
        b"<ownerSignature>", b"<remarks><p>Sold by a <b>trust</b>.</p></remarks><ownerSignature>"
    )
    assert parse_ownership(marked).remarks == "Sold by a trust."


def test_a_row_without_coding_has_no_code() -> None:
    assert [row.code for row in read("no_transaction_coding").transactions] == ["", "S"]


def test_a_coding_that_has_lost_its_code_is_refused() -> None:
    lost = content("bare_ampersand").replace(b"<transactionCode>S</transactionCode>", b"")
    with pytest.raises(OwnershipError, match="a row has lost its <transactionCode>"):
        parse_ownership(lost)


@pytest.mark.parametrize(
    ("name", "doubt"),
    [
        ("future_year_2035", "its day, 2035-03-15, lies after the report"),
        ("year_0022", "its day, 0022-03-15, lies before there were such reports"),
    ],
)
def test_a_day_that_cannot_be_is_in_doubt_and_is_not_the_newest(name: str, doubt: str) -> None:
    filing = ReadFiling("a-1", date(2024, 3, 18), "", read(name))
    newer = ReadFiling("a-2", date(2024, 5, 2), "", parse_ownership(
        content("cdata").replace(b"2024-03-15", b"2024-05-01")
    ))  # fmt: skip
    trades = trades_of("Jane Roe", 999, [newer, filing]).trades
    assert [trade.accession_number for trade in trades] == ["a-2", "a-1", "a-1"]
    assert sorted(trade.in_doubt for trade in trades) == ["", "", doubt]


def test_a_day_may_be_that_of_the_filing() -> None:
    filing = ReadFiling("a-1", date(2024, 3, 15), "", read("cdata"))
    assert [trade.in_doubt for trade in trades_of("Jane Roe", 999, [filing]).trades] == [""]


def test_a_day_that_stands_in_a_footnote_is_absent() -> None:
    row = first("missing_transactionDate_value")
    assert (row.transaction_date, row.field_notes) == (None, (FieldNote("transaction_date", "F1"),))


def test_a_footnote_belongs_to_each_field_that_refers_to_it() -> None:
    row = first("value_then_footnote")
    assert (row.shares, row.price, row.shares_owned_after) == (
        Decimal(1800),
        Decimal("48.31"),
        Decimal(18995),
    )
    fields = ("shares", "price_per_share", "shares_owned_after")
    assert row.field_notes == tuple(FieldNote(field, "F1") for field in fields)


def test_a_footnote_that_is_not_there_is_no_footnote_of_a_trade() -> None:
    filing = ReadFiling("a-1", None, "", read("dangling_notes"))
    (trade,) = trades_of("Jane Roe", 999, [filing]).trades
    assert trade.footnotes == ("held in trust",)
    assert [(each.field, each.text) for each in trade.footnotes_by_field] == [
        ("price_per_share", "held in trust")
    ]


def test_a_footnote_is_found_in_either_case() -> None:
    document = read("lowercase_note_id")
    assert document.transactions[0].footnote_ids == ("F1",)
    assert document.footnotes == {"F1": "held in trust"}


def test_a_price_that_is_a_range_is_absent() -> None:
    assert first("price_range_note").price is None


def test_codes_of_every_kind_are_read() -> None:
    assert "".join(row.code for row in read("codes_I_W").transactions) == "IWKVZL"


def test_lots_of_one_day_are_rows_of_their_own() -> None:
    rows = [(row.price, row.ownership_nature) for row in read("three_tranches").transactions]
    assert [str(price) for price, _ in rows] == ["10.5", "10.6", "10.7", "10.5"]
    assert [nature for _, nature in rows] == ["", "", "", "By Trust"]


def test_a_flag_may_be_a_word() -> None:
    owner = read("booleans").owners[0]
    assert (owner.role, first("booleans").equity_swap) == (
        "director, officer (CEO), ten percent owner",
        True,
    )


def test_dates_and_periods_are_read_or_absent() -> None:
    assert read("tz_dates").period == date(2024, 3, 15)
    assert read("empty_period").period is None


def test_owning_nothing_and_a_foreign_symbol_are_kept() -> None:
    assert read("no_securities").no_securities_owned
    issuer = read("foreign_symbol").issuer
    assert (issuer.trading_symbol, issuer.foreign_trading_symbol) == ("ACME", "2330.TW")


def test_a_holding_that_a_form_3_should_have_reported_says_so() -> None:
    (holding,) = read("form5_late_holding").holdings
    assert (holding.form_type, holding.shares_owned) == ("3", Decimal(5))


PLANNED = {
    "plan_denied_no": [False],
    "plan_terminated": [False],
    "plan_minus_sign": [True],
    "plan_in_remarks_only": [True],
    "checkbox_with_gift_and_tax": [True, False, False, False],
}


@pytest.mark.parametrize("name", PLANNED)
def test_each_row_is_planned_as_the_filing_says_of_it(name: str) -> None:
    document = read(name)
    assert [is_planned(document, row) for row in document.transactions] == PLANNED[name]


def lost(name: str, old: bytes, new: bytes) -> bytes:
    sound = content(name)
    assert old in sound
    return sound.replace(old, new, 1)


BREAKS = [
    (b"<transactionShares><value>", b"<transactionShares>value>"),
    (b"<transactionShares><value>", b"<transactionShares><value"),
    (b"<securityTitle><value>", b"<securityTitle>value>"),
    (b"<transactionShares><value>", b"<transactionShares><vaule>"),
    (b"<value>100</value>", b"<vaule>100</vaule>"),
    (b"<value>100</value>", b"<value>100</value><value>200</value>"),
    (b"<transactionCode>S</transactionCode>", b"<transactionCod>S</transactionCod>"),
    (b"<transactionCode>S</transactionCode>", b"<transactionCode></transactionCode>"),
]


@pytest.mark.parametrize(("old", "new"), BREAKS)
def test_a_lost_bracket_or_name_of_a_tag_refuses_the_document(old: bytes, new: bytes) -> None:
    with pytest.raises(OwnershipError):
        parse_ownership(lost("cdata", old, new))
