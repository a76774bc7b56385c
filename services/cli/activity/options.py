"""Options that select entries, and the filter that they make."""

from __future__ import annotations

from typing import Annotated

import typer
from prospect.activity.v1 import activity_service_pb2 as pb

from services.cli.terminal.times import TIME_HELP, parse_time

ACTIONS = {
    name.removeprefix("ACTION_TYPE_").lower(): pb.ActionType.ValueType(number)
    for name, number in pb.ActionType.items()
    if number
}

Users = Annotated[list[str] | None, typer.Option("--user", help="User's UUID; may be repeated.")]
Actions = Annotated[
    list[str] | None,
    typer.Option("--action", help=f"May be repeated: {', '.join(ACTIONS)}."),
]
From = Annotated[str | None, typer.Option("--from", help=f"Not before: {TIME_HELP}.")]
To = Annotated[str | None, typer.Option("--to", help="Before this time.")]
Targets = Annotated[
    list[str] | None, typer.Option("--target", help="What was acted on; may be repeated.")
]
Metadata = Annotated[
    str | None, typer.Option("--metadata", help='Metadata contain this JSON: {"query": "cfo"}.')
]


def make_filter(
    users: list[str] | None,
    actions: list[str] | None,
    start: str | None,
    end: str | None,
    targets: list[str] | None,
    metadata: str | None,
) -> pb.ActivityFilter:
    """Return the filter that the options describe; the service validates the values."""
    return pb.ActivityFilter(
        user_ids=users,
        action_types=[parse_action(each) for each in actions or ()],
        start_time=parse_time("--from", start) if start else None,
        end_time=parse_time("--to", end) if end else None,
        target_ids=targets,
        metadata_json=metadata or "",
    )


def parse_action(name: str) -> pb.ActionType.ValueType:
    """Parse the name of an action type."""
    if name not in ACTIONS:
        raise typer.BadParameter(f"--action {name}: must be one of {', '.join(ACTIONS)}")
    return ACTIONS[name]
