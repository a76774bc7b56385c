"""`prospect activity erase|retention|partitions|maintain`: what is kept, and what goes."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC
from typing import Annotated

import typer
from prospect.activity.v1 import activity_service_pb2 as pb
from prospect.activity.v1 import activity_service_pb2_grpc as rpc
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from chassis.clock import utc_now
from services.activity.months.drop_expired import drop_expired_months
from services.activity.retention.kept import kept_since
from services.cli.terminal.client import (
    ADDRESS,
    AUDIT_TOKEN_FILE,
    TOKEN_FILE,
    Address,
    AsJson,
    CaFile,
    TokenFile,
    calling,
)
from services.cli.terminal.message_json import print_json


def erase(
    user_id: Annotated[str, typer.Argument(help="UUID of the user to erase.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask first.")] = False,
    as_json: AsJson = False,
    address: Address = ADDRESS,
    token_file: TokenFile = TOKEN_FILE,
    ca_file: CaFile = None,
) -> None:
    """Make a user's entries anonymous, for good, and print the receipt. Needs activity:admin.

    Example: prospect activity erase 0192f0c1-0000-7000-8000-0000000000aa --yes
    """
    if not yes:
        typer.confirm(f"Erase user {user_id}? This cannot be undone.", abort=True, err=True)
    with calling(address, token_file, ca_file) as call:
        stub = rpc.ActivityServiceStub(call.channel)
        request = pb.EraseUserRequest(user_id=user_id)
        receipt = stub.EraseUser(request, metadata=call.metadata).receipt
    if as_json:
        print_json(receipt)
    else:
        when = receipt.erased_at.ToDatetime(UTC)
        typer.echo(
            f"erased {receipt.erased_count:,} entries of {receipt.user_id} at {when:%Y-%m-%d %H:%M}"
            f" UTC; receipt {receipt.receipt_id}"
        )


def retention(
    days: Annotated[
        int | None,
        typer.Argument(help="Keep entries for so many days; 0 for as long as the whole log."),
    ] = None,
    as_json: AsJson = False,
    address: Address = ADDRESS,
    token_file: TokenFile = TOKEN_FILE,
    ca_file: CaFile = None,
) -> None:
    """Show how long your tenant's entries are kept, or set it. Setting needs activity:admin.

    Examples:

      prospect activity retention

      prospect activity retention 90
    """
    with calling(address, token_file, ca_file) as call:
        stub = rpc.ActivityServiceStub(call.channel)
        if days is not None:
            update = pb.UpdateRetentionRequest(retention_days=days)
            stub.UpdateRetention(update, metadata=call.metadata)
        kept = stub.GetRetention(pb.GetRetentionRequest(), metadata=call.metadata)
    if as_json:
        print_json(kept)
    else:
        whose = "as long as the whole log" if kept.is_default else "the tenant's own retention"
        typer.echo(f"entries are kept for {kept.retention_days} days ({whose})")


def partitions(
    as_json: AsJson = False,
    address: Address = ADDRESS,
    token_file: TokenFile = AUDIT_TOKEN_FILE,
    ca_file: CaFile = None,
) -> None:
    """Show the months of the log: sizes, rows, what is made and dropped next. Needs activity:audit.

    Example: prospect activity partitions
    """
    with calling(address, token_file, ca_file) as call:
        stub = rpc.ActivityServiceStub(call.channel)
        found = stub.ListPartitions(pb.ListPartitionsRequest(), metadata=call.metadata)
    if as_json:
        print_json(found)
        return
    table = Table("month")
    for heading in ("rows (about)", "table", "indexes"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for each in found.partitions:
        rows = f"{each.estimated_row_count:,}" if each.estimated_row_count >= 0 else "not known yet"
        sizes = decimal(each.table_bytes), decimal(each.index_bytes)
        table.add_row(each.month, rows, *sizes, "to be dropped" if each.droppable else "")
    Console().print(table)
    due = found.next_creation_time.ToDatetime(UTC)
    typer.echo(
        f"{found.next_creation} is made about {due:%Y-%m-%d}; entries are kept for "
        f"{found.retention_days} days, months beyond are dropped by `prospect activity maintain`"
    )


def maintain(
    owner_dsn: Annotated[
        str,
        typer.Option(envvar="PROSPECT_POSTGRES_OWNER_DSN", help="DSN of the role activity_owner."),
    ],
    days: Annotated[
        int,
        typer.Option(envvar="PROSPECT_RETENTION_DAYS", min=31, help="How long the log is kept."),
    ] = 395,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    as_json: AsJson = False,
) -> None:
    """Drop the months of the log that are older than it is kept; no reader or writer waits.

    Only the owner of the log can, so it is not the service's work: run it nightly.

    Example: prospect activity maintain --dry-run
    """
    first_kept = kept_since(utc_now(), days).date()
    dropped = asyncio.run(drop_expired_months(owner_dsn, first_kept, dry_run=dry_run))
    if as_json:
        typer.echo(json.dumps({"dropped": dropped, "dry_run": dry_run}))
    else:
        verb = "would drop" if dry_run else "dropped"
        typer.echo(f"{verb} {', '.join(dropped)}" if dropped else "nothing to drop")
