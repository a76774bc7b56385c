"""`prospect sec`: documents filed with the SEC, read offline."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import typer

from chassis.settings import SettingsError
from services.cli.terminal.screen import escaped
from services.enrichment.sources.edgar.filing_xml import MAX_BYTES, OwnershipError
from services.enrichment.sources.edgar.form import (
    MARKET_TRADES,
    OwnershipDocument,
    Transaction,
    doubt_of_date,
    transaction_kind,
)
from services.enrichment.sources.edgar.ownership import parse_ownership
from services.enrichment.sources.edgar.plans import is_planned

app = typer.Typer(no_args_is_help=True, help="Read what was filed with the SEC.")


@app.command("parse")
def parse(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A document, or - for stdin.")],
) -> None:
    """Print an ownership document (Forms 3, 4, 5 and their amendments) as JSON.

    FILE is the raw XML or the full submission with the XML inside. Every number is a string, exact
    as filed; what the filing gives only in a footnote is null, which is not zero. A document that
    cannot be read with certainty is refused with exit code 1.

    Examples:

      prospect sec parse form4.xml

      prospect sec parse 0000320193-22-000061.txt | jq '.non_derivative_transactions[].shares'

      curl -sA 'Acme (ops@acme.example)' https://www.sec.gov/Archives/… | prospect sec parse -
    """
    try:
        document = parse_ownership(_content(file))
    except OwnershipError as error:
        typer.echo(f"prospect: {file}: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(escaped(json.dumps(as_json(document), indent=2, ensure_ascii=False)))


def as_json(document: OwnershipDocument) -> dict[str, Any]:
    """Return a document's content, with the meaning of each transaction's code."""
    said: dict[str, Any] = _json(document)
    for table in ("non_derivative_transactions", "derivative_transactions"):
        rows: tuple[Transaction, ...] = getattr(document, table)
        said[table] = [
            _json(row)
            | {
                "kind": transaction_kind(row.code),
                "is_market_trade": row.code in MARKET_TRADES,
                "under_10b5_1_plan": is_planned(document, row),
                "in_doubt": doubt_of_date(document, row),
            }
            for row in rows
        ]
    return said


def _json(value: Any) -> Any:
    match value:
        case None | bool() | str():
            return value
        case Decimal() | int():
            return f"{value:f}" if isinstance(value, Decimal) else str(value)
        case date():
            return value.isoformat()
        case tuple():
            return [_json(item) for item in value]
        case Mapping():
            return {key: _json(item) for key, item in value.items()}
    names = (field.name for field in dataclasses.fields(value))
    return {name: _json(getattr(value, name)) for name in names}


def _content(file: str) -> bytes:
    """Read a file up to one byte past the limit, which is enough to refuse it."""
    try:
        if file == "-":
            return sys.stdin.buffer.read(MAX_BYTES + 1)
        with Path(file).open("rb") as opened:
            return opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}") from None
