"""Sentences that a model might write, true and false, and what may be shown of them.

`data`/sentences.json are of filings and a page, `data`/more_sentences.json of pages with the span
that each quotes. Of what is data none is taken from a model: what is true of it we tell ourselves.
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from services.enrichment.sources.catalogue import SourceName
from services.enrichment.sources.claude.check import fault_of
from services.enrichment.sources.claude.composition import Choice, compose
from services.enrichment.sources.claude.quantities import unsupported
from services.enrichment.sources.facts import facts_with_statements
from services.enrichment.sources.findings import (
    Contact,
    Fact,
    Finding,
    InsiderTrade,
    InsiderTrades,
    Person,
    Provenance,
    Statement,
    WebFindings,
    WebPage,
)

DATA = Path(__file__).parent / "data"
GIVEN: dict[str, Any] = json.loads((DATA / "sentences.json").read_text())
MORE: dict[str, Any] = json.loads((DATA / "more_sentences.json").read_text())
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
PARKER = Person("Jane Parker", "Ridge Inc.", title="General Counsel")


def provenance(source: SourceName) -> Provenance:
    return Provenance(source, "https://source.example", "r-1", NOW)


def row(code: str, kind: str, direction: str, day: date, **fields: Any) -> InsiderTrade:
    usual: dict[str, Any] = {"security_title": "Common Stock", "table": "non_derivative"}
    return InsiderTrade(
        accession_number="0000000000-22-000001",
        row=0,
        form="4",
        filing_url="https://sec.example/1",
        owner_name="Parker Jane L.",
        owner_cik=9,
        owner_role="officer (SVP, GC and Secretary)",
        transaction_code=code,
        transaction_kind=kind,
        is_market_trade=code in "PS",
        acquired_disposed=direction,
        transaction_date=day,
        footnotes=(),
        **usual | {"under_10b5_1_plan": False} | fields,
    )


def sale(shares: int, number: int) -> InsiderTrade:
    price = Decimal("159.94") if number == 0 else Decimal("160.10")
    day = date(2022, 5, 4)
    fields = {"shares": Decimal(shares), "price_per_share": price, "under_10b5_1_plan": True}
    return row("S", "open market or private sale", "D", day, **fields)


GRANT = "grant, award or other acquisition from the issuer"
WITHHELD = {"shares": Decimal(7032), "price_per_share": Decimal("165.29")}
TRADES = (
    row("A", GRANT, "A", date(2022, 10, 3), security_title="Restricted Stock Unit"),
    *(sale(shares, number) for number, shares in enumerate([9136, 4000, 4000, 4000, 2000, 1000])),
    sale(864, 6),
    row("F", "payment of exercise price or tax", "D", date(2022, 4, 15), **WITHHELD),
)
PAGE = WebPage(
    "Ridge names its general counsel",
    "https://news.example/1",
    "",
    "Jane Parker joins Ridge from Globex. Revenue there grew 12% to 1,200,000 euros.",
    published_on=date(2017, 10, 5),
)
FOUND: dict[SourceName, Finding] = {
    SourceName.CONTACTOUT: Contact(
        "Jane Parker", "", "", "", ("j@ridge.example",), (), ("+1",),
        provenance(SourceName.CONTACTOUT),
    ),
    SourceName.EXA: WebFindings((PAGE,), provenance(SourceName.EXA)),
    SourceName.SEC: InsiderTrades(7, "Ridge Inc.", 3, TRADES, provenance(SourceName.SEC)),
}  # fmt: skip
TOLD = " ".join(said.text for _, said in facts_with_statements(FOUND) if said.is_data)


def is_of_page(sentence: dict[str, Any]) -> bool:
    return bool(sentence["fact_ids"][0].startswith("exa-"))


def kinds(sentences: list[dict[str, Any]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("sentence", sentences, ids=lambda each: each["kind"])


def passes(sentence: dict[str, Any]) -> bool:
    """Whether a model that wrote this of the fact would be shown."""
    facts = [
        (Fact(each["id"], each["text"], ""), Statement(each["text"], "", "", each["id"] != "exa-1"))
        for each in GIVEN["facts"]
    ]
    pages = {fact.id: fact.text for fact, _ in facts}
    choices = [Choice(i, pages[i], sentence["sentence"]) for i in sentence["fact_ids"]]
    return sentence["sentence"] in [each.text for each in compose(choices, facts, PARKER).sentences]


@kinds([each for each in GIVEN["sentences"] if not each["true"]])
def test_no_false_sentence_is_shown(sentence: dict[str, Any]) -> None:
    assert not passes(sentence)


@kinds([each for each in GIVEN["sentences"] if each["true"] and is_of_page(each)])
def test_every_true_sentence_of_a_page_is_shown(sentence: dict[str, Any]) -> None:
    assert passes(sentence)


@kinds([each for each in GIVEN["sentences"] if each["true"] and not is_of_page(each)])
def test_what_is_true_of_data_we_tell_ourselves(sentence: dict[str, Any]) -> None:
    """Every number of it, and every word that matters."""
    assert unsupported(sentence["sentence"], TOLD) == []
    words = {
        "sold": "sold", "granted": "grant", "withheld": "withheld", "disposed": "sold",
        "e-mail": "e-mail", "10b5": "Rule 10b5-1 plan", "footnote": "footnote",
        "Senior Vice President, General Counsel": "Senior Vice President, General Counsel",
    }  # fmt: skip
    assert [ours for theirs, ours in words.items() if theirs in sentence["sentence"]] == [
        ours for theirs, ours in words.items() if theirs in sentence["sentence"] and ours in TOLD
    ]


@kinds(MORE["sentences"])
def test_a_sentence_of_a_page_is_held_to_the_span_that_it_quotes(sentence: dict[str, Any]) -> None:
    pages = {each["id"]: each["text"] for each in MORE["facts"]}
    page, person = pages[sentence["fact_id"]], Person(**MORE["person"])
    fault = fault_of(sentence["sentence"], sentence["quote"], page, person)
    assert (fault == "") == sentence["true"]
