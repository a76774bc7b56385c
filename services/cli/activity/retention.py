"""`prospect activity erase|retention|partitions|maintain`: how long entries are kept."""

from __future__ import annotations

import asyncio
import json
import os
from datetime import UTC
from typing import Annotated

import typer
from prospect.activity.v1 import activity_service_pb2 as pb
from prospect.activity.v1.activity_service_pb2_grpc import ActivityServiceStub
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from chassis.clock import utc_now
from chassis.database import OWNER_DSN
from chassis.identity.certificates import PemFiles, client_context
from chassis.settings import PostgresFiles, SettingsError, load, read_secret
from services.activity.months.drop_expired import drop_expired_months
from services.activity.retention.kept import kept_since
from services.cli.terminal.client import Client
from services.cli.terminal.message_json import print_json
from services.cli.terminal.shared_options import ACTIVITY, AUDIT_TOKEN_FILE, calls


@calls(ACTIVITY)
def erase(
    client: Client,
    user_id: Annotated[str, typer.Argument(help="UUID of the user to erase.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask first.")] = False,
) -> None:
    """Make a user's entries anonymous, for good, and print the receipt. Needs activity:admin.

    Example: prospect activity erase 0192f0c1-0000-7000-8000-0000000000aa --yes
    """
    if not yes:
        typer.confirm(f"Erase user {user_id}? This cannot be undone.", abort=True, err=True)
    with client.calling(ActivityServiceStub) as stub:
        request = pb.EraseUserRequest(user_id=user_id)
        receipt = stub.EraseUser(request).receipt
    if client.as_json:
        print_json(receipt)
    else:
        when = receipt.erased_at.ToDatetime(UTC)
        typer.echo(
            f"erased {receipt.erased_count:,} entries of {user_id} at {when:%Y-%m-%d %H:%M}"
            f" UTC; receipt {receipt.receipt_id}"
        )


@calls(ACTIVITY)
def retention(
    client: Client,
    days: Annotated[
        int | None,
        typer.Argument(help="Keep entries for so many days; 0 for as long as the whole log."),
    ] = None,
) -> None:
    """Show how long your tenant's entries are kept, or set it. Setting needs activity:admin.

    Examples:

      prospect activity retention

      prospect activity retention 90
    """
    with client.calling(ActivityServiceStub) as stub:
        if days is not None:
            update = pb.UpdateRetentionRequest(retention_days=days)
            stub.UpdateRetention(update)
        kept = stub.GetRetention(pb.GetRetentionRequest())
    if client.as_json:
        print_json(kept)
    else:
        whose = "as long as the whole log" if kept.is_default else "the tenant's own retention"
        typer.echo(f"entries are kept for {kept.retention_days} days ({whose})")


@calls(ACTIVITY, AUDIT_TOKEN_FILE)
def partitions(
    client: Client,
) -> None:
    """Show the months of the log: sizes, rows, what is made and dropped next. Needs activity:audit.

    Example: prospect activity partitions
    """
    with client.calling(ActivityServiceStub) as stub:
        found = stub.ListPartitions(pb.ListPartitionsRequest())
    if client.as_json:
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
        typer.Option(
            help=f"DSN of the role activity_owner; else {OWNER_DSN} or {OWNER_DSN}_FILE says it.",
            show_default=False,
        ),
    ] = "",
    days: Annotated[
        int,
        typer.Option(envvar="PROSPECT_RETENTION_DAYS", min=31, help="How long the log is kept."),
    ] = 395,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be dropped.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Drop the months of the log that are past its retention; readers and writers do not wait.

    Only the role activity_owner may drop a month, so the service does not: run this nightly.

    Example: prospect activity maintain --dry-run
    """
    dsn = owner_dsn or read_secret(OWNER_DSN, os.environ)
    if not dsn:
        raise SettingsError(f"{OWNER_DSN} is not set (see `prospect activity maintain --help`)")
    first_kept = kept_since(utc_now(), days).date()
    tls = client_context(PemFiles.of(load(PostgresFiles), "postgres"))
    dropped = asyncio.run(drop_expired_months(dsn, first_kept, dry_run=dry_run, tls=tls))
    if as_json:
        typer.echo(json.dumps({"dropped": dropped, "dry_run": dry_run}))
    else:
        verb = "would drop" if dry_run else "dropped"
        typer.echo(f"{verb} {', '.join(dropped)}" if dropped else "nothing to drop")
