"""`prospect config`: every setting, its meaning, default and current value."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from pydantic.fields import FieldInfo
from rich.console import Console
from rich.table import Table

from chassis.identity.secrets import masked
from chassis.settings import FILE, PREFIX, is_secret, refuse_unknown
from services.cli.operate.services import ServiceName, known_variables, settings_of


def config(
    name: Annotated[
        ServiceName | None, typer.Argument(help="Only what this service reads.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show every setting: variable, meaning, default, and the value in force (secrets hidden).

    Settings are environment variables. An unknown PROSPECT_ variable is an error.

    Examples:

      prospect config enrichment

      prospect config --json
    """
    refuse_unknown(os.environ, known_variables())
    rows = [_row(*each, os.environ) for each in _fields(name)]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    table = Table("variable", "meaning", "default", "now")
    for row in rows:
        table.add_row(
            row["variable"], row["meaning"], row["default"] or "[red]required", row["now"]
        )
    Console().print(table)


def _fields(name: ServiceName | None) -> list[tuple[str, FieldInfo]]:
    fields: dict[str, FieldInfo] = {}
    for each in [name] if name else list(ServiceName):
        fields |= settings_of(each).model_fields
    return list(fields.items())


def _row(name: str, field: FieldInfo, environment: Mapping[str, str]) -> dict[str, Any]:
    variable = f"{PREFIX}{name}".upper()
    meaning, now = field.description or "", masked(environment.get(variable, ""))
    if is_secret(field):
        meaning = f"{meaning} (or {variable}{FILE}: a file that holds it)"
        now = "(hidden)" if now else environment.get(f"{variable}{FILE}", "")
    default = "" if field.is_required() else str(field.default) or '""'
    return {"variable": variable, "meaning": meaning, "default": default, "now": now}
