"""Entries of the log as tables, lines and JSON, with the names that an export uses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson
from prospect.activity.v1 import activity_service_pb2 as pb
from rich.table import Table

from chassis.clock import to_datetime
from services.cli.terminal.screen import escaped, shown


def action_name(action: pb.ActionType.ValueType) -> str:
    """Return the name of an action type, such as `login`."""
    return pb.ActionType.Name(action).removeprefix("ACTION_TYPE_").lower()


def fields_of(entry: pb.Activity) -> dict[str, Any]:
    """Return an entry's fields as an export names them; metadata are passed through unparsed."""
    return {
        "activity_id": entry.activity_id,
        "user_id": entry.user_id,
        "action_type": action_name(entry.action_type),
        "target_id": entry.target_id,
        "metadata": orjson.Fragment(entry.metadata_json),
        "created_at": f"{to_datetime(entry.created_at):%Y-%m-%dT%H:%M:%S.%fZ}",
        "recorded_at": f"{to_datetime(entry.recorded_at):%Y-%m-%dT%H:%M:%S.%fZ}",
        "ip_address": entry.ip_address,
        "user_agent": entry.user_agent,
    }


def json_line(entry: pb.Activity) -> str:
    """Return an entry as one line of JSON."""
    return escaped(orjson.dumps(fields_of(entry)).decode())


def line_of(entry: pb.Activity) -> str:
    """Return an entry as one line of text."""
    when = f"{to_datetime(entry.created_at):%Y-%m-%d %H:%M:%S}"
    action, target = action_name(entry.action_type), entry.target_id or "-"
    return shown(f"{when}  {action:<16}  {entry.user_id}  {target}  {entry.metadata_json}").plain


def table_of(entries: Iterable[pb.Activity]) -> Table:
    """Return entries as a table."""
    table = Table("when (UTC)", "action")
    for name in ("user", "target", "metadata", "activity"):
        table.add_column(name, overflow="fold")  # an id that is cut off is of no use
    for entry in entries:
        table.add_row(
            f"{to_datetime(entry.created_at):%Y-%m-%d %H:%M:%S}",
            action_name(entry.action_type),
            entry.user_id,
            shown(entry.target_id),
            shown(entry.metadata_json),
            entry.activity_id,
        )
    return table


def card_of(entry: pb.Activity) -> Table:
    """Return one entry with all its fields."""
    table = Table(show_header=False)
    for name, value in fields_of(entry).items():
        table.add_row(name, shown(entry.metadata_json if name == "metadata" else str(value)))
    return table
