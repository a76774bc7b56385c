"""CSV files of people: read row by row, each with its line; never the whole file in memory."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

import typer
from prospect.enrichment.v1 import enrichment_service_pb2 as pb

from services.cli.terminal.csv_cells import unguarded

STDIN = "-"
REASONS = ("line", "field", "rule", "message")
"""Columns that a file of refused rows has besides: ignored, so that it can be sent again."""
YES, NO = frozenset({"true", "yes", "1"}), frozenset({"false", "no", "0"})


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns that a file must and may have."""

    required: tuple[str, ...]
    optional: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        """Return all of them."""
        return self.required + self.optional


PROSPECTS = Columns(
    ("name", "company"),
    ("title", "email", "linkedin_url", "company_cik", "is_public_company", "prospect_id"),
)
PEOPLE = Columns((), ("email", "linkedin_url", "name", "company"))


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a file: its place from 0, its line, and its cells by column."""

    place: int
    line: int
    cells: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that was not accepted, and why."""

    row: Row
    field: str
    rule: str
    message: str

    @property
    def reasons(self) -> dict[str, int | str]:
        """Return why, by name."""
        values = (self.row.line, self.field, self.rule, self.message)
        return dict(zip(REASONS, values, strict=True))


def read_rows(path: str, columns: Columns) -> Iterator[Row]:
    """Yield a file's rows; `-` is stdin."""
    with _opened(path) as file:
        reader = csv.reader(file, strict=True)
        try:
            names = _header(next(reader, []), columns)
            for place, cells in enumerate(cells for cells in reader if cells):
                yield Row(place, reader.line_num, _by_name(names, cells, reader.line_num))
        except csv.Error as error:
            raise typer.BadParameter(f"line {reader.line_num} is not CSV: {error}") from None
        except UnicodeDecodeError:
            raise typer.BadParameter(f"{path} is not UTF-8") from None


def request_of(row: Row) -> pb.RequestEnrichmentRequest | Refused:
    """Return a row as a request; the service validates all else."""
    cells = row.cells
    public = cells.get("is_public_company", "").lower()
    if public and public not in YES | NO:
        text = f"{public!r} must be true or false"
        return Refused(row, "is_public_company", "bool", text)
    request = pb.RequestEnrichmentRequest(
        is_public_company=public in YES if public else bool(cells.get("company_cik"))
    )
    for name in PROSPECTS.all:
        if name != "is_public_company":
            setattr(request, name, cells.get(name, ""))
    return request


@contextmanager
def _opened(path: str) -> Iterator[TextIO]:
    if path == STDIN:
        text = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", newline="")
        try:
            yield text
        finally:
            text.detach()
        return
    try:
        file = open(path, encoding="utf-8-sig", newline="")  # noqa: SIM115 -- closed below
    except OSError as error:
        raise typer.BadParameter(f"{path}: {error.strerror}") from None
    with file:
        yield file


def _header(cells: list[str], columns: Columns) -> list[str]:
    names = [cell.strip().lower() for cell in cells]
    unknown = [name for name in names if name not in columns.all + REASONS]
    missing = [name for name in columns.required if name not in names]
    twice = sorted({name for name in names if names.count(name) > 1})
    for fault, which in (("unknown", unknown), ("missing", missing), ("repeated", twice)):
        if which:
            raise typer.BadParameter(
                f"{fault} column{'s' if len(which) > 1 else ''} {', '.join(map(repr, which))}; "
                f"the first line names columns of: {', '.join(columns.all)}"
            )
    if not set(names) & set(columns.all):
        raise typer.BadParameter(f"the first line must name columns of: {', '.join(columns.all)}")
    return names


def _by_name(names: list[str], cells: list[str], line: int) -> dict[str, str]:
    if len(cells) > len(names):
        raise typer.BadParameter(f"line {line} has {len(cells)} cells for {len(names)} columns")
    return {name: unguarded(cell.strip()) for name, cell in zip(names, cells, strict=False)}
