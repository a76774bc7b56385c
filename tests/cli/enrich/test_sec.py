"""`prospect sec parse`: any ownership document as JSON, every number exact."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from devstack.stack import ROOT
from services.__main__ import app
from services.cli.enrich.sec import as_json
from services.enrichment.sources.edgar.ownership import parse_ownership

FILINGS = sorted((ROOT / "devstack/sandbox/data/sec/filings").iterdir())
ADAMS = ROOT / "devstack/sandbox/data/sec/filings/0000320193-22-000061.txt"
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
# What is no figure of the filing: addresses, and yes or no in digits.
_NO_FIGURES = re.compile(
    r"rptOwner(Zip|Street)|^is[A-Z]|aff10b5|notSubject|noSecur|equitySwap|Reported$"
)


def prospect(*arguments: str, stdin: bytes = b"") -> Result:
    """Run the command to its end."""
    return CliRunner(env={"COLUMNS": "160"}).invoke(app, arguments, input=stdin)


def filed_figures(path: Path) -> Counter[Decimal]:
    """Return every numeric text of the filing's XML, as a parser that knows nothing reads it."""
    text = path.read_text()
    xml = text[text.index("<ownershipDocument") :].split("</XML>")[0].strip()
    return Counter(
        Decimal(element.text.strip())
        for element in ET.fromstring(xml).iter()
        if element.text
        and _NUMBER.fullmatch(element.text.strip())
        and not _NO_FIGURES.search(element.tag)
    )


def figures_in(said: Any, name: str = "") -> Iterator[Decimal]:
    """Yield every number of the output but the row numbers, which we add."""
    if isinstance(said, dict):
        for key, value in said.items():
            yield from figures_in(value, key)
    elif isinstance(said, list):
        for value in said:
            yield from figures_in(value, name)
    elif isinstance(said, str) and name != "row" and _NUMBER.fullmatch(said):
        yield Decimal(said)


@pytest.mark.parametrize("path", FILINGS, ids=lambda path: path.name)
def test_every_number_of_the_filing_is_in_the_output_and_no_other(path: Path) -> None:
    said = as_json(parse_ownership(path.read_bytes()))
    assert Counter(figures_in(said)) == filed_figures(path)


@pytest.mark.parametrize("path", FILINGS, ids=lambda path: path.name)
def test_no_number_is_a_json_number(path: Path) -> None:
    said = json.loads(json.dumps(as_json(parse_ownership(path.read_bytes()))), parse_int=refuse)
    assert said["issuer"]["cik"].isdecimal()


def refuse(text: str) -> str:
    raise AssertionError(f"{text} is a JSON number")


def test_a_submission_is_printed_as_json() -> None:
    done = prospect("sec", "parse", str(ADAMS))
    assert (done.exit_code, done.stderr_bytes) == (0, b"")
    first = json.loads(done.stdout_bytes)["non_derivative_transactions"][0]
    assert {key: first[key] for key in ("row", "shares", "price", "kind", "under_10b5_1_plan")} == {
        "row": "0",
        "shares": "9136",
        "price": "159.94",
        "kind": "open market or private sale",
        "under_10b5_1_plan": True,
    }


def test_a_document_is_read_from_stdin() -> None:
    done = prospect("sec", "parse", "-", stdin=ADAMS.read_bytes())
    assert json.loads(done.stdout_bytes)["issuer"]["name"] == "Apple Inc."


def test_an_invalid_document_is_refused_in_one_line() -> None:
    done = prospect("sec", "parse", "-", stdin=b"<!DOCTYPE html><html></html>")
    assert (done.exit_code, done.stdout_bytes) == (1, b"")
    assert done.stderr_bytes.decode().splitlines() == [
        "prospect: -: the document is HTML, not XML: ask for the unrendered file"
    ]


def test_a_file_that_is_not_there_is_named() -> None:
    done = prospect("sec", "parse", "no-such-file.xml")
    assert done.exit_code == 2
    assert b"no-such-file.xml cannot be read" in done.stderr_bytes


def test_help_has_examples() -> None:
    assert b"Example" in prospect("sec", "parse", "--help").stdout_bytes
