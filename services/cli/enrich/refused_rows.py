"""Refused rows: printed at once, and written to a file that can be corrected and sent again."""

from __future__ import annotations

import csv
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

import typer

from chassis.identity.secrets import private
from services.cli.enrich.csv_rows import PROSPECTS, REASONS, Refused
from services.cli.terminal.csv_cells import guarded
from services.cli.terminal.message_json import print_json
from services.cli.terminal.screen import shown

MAX_SHOWN = 20


class RefusedRows:
    """Prints and writes refused rows as they come; without any, no file is made."""

    def __init__(self, path: Path | None, *, as_json: bool) -> None:
        self.count = 0
        self._path = path
        self._as_json = as_json
        self._file: TextIO | None = None
        self._writer: Any = None

    def __enter__(self) -> Self:
        return self

    def add(self, refused: Refused) -> None:
        """Print a row and why it was refused, and write it to the file."""
        self.count += 1
        if self._as_json:
            print_json({"refused": refused.reasons})
        elif self.count <= MAX_SHOWN:
            text = f"line {refused.row.line}: {refused.field}: {refused.message} ({refused.rule})"
            typer.echo(shown(text), err=True)
        if self._path:
            self._write(self._path, refused)

    def _write(self, path: Path, refused: Refused) -> None:
        try:
            if self._file is None:
                self._file = open(  # noqa: SIM115 -- closed at the end
                    path, "w", encoding="utf-8", newline="", opener=private
                )
                self._writer = csv.DictWriter(self._file, [*PROSPECTS.all, *REASONS])
                self._writer.writeheader()
            row = dict(refused.row.cells) | refused.reasons
            self._writer.writerow({name: guarded(str(cell)) for name, cell in row.items()})
        except OSError as error:
            raise typer.BadParameter(f"{path} cannot be written: {error.strerror}") from None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file:
            self._file.close()
        if self.count > MAX_SHOWN and not self._as_json:
            where = str(self._path) if self._path else "--refused FILE writes them"
            typer.echo(f"and {self.count - MAX_SHOWN:,} more ({where})", err=True)
