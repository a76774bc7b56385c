"""`prospect migrate`: bring the schemas up to date."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated

import typer

from chassis import migrate as migrations
from chassis.database import OWNER_DSN
from chassis.identity.certificates import PemFiles, client_context
from chassis.settings import PostgresFiles, SettingsError, load, read_secret
from services.cli.operate.services import ServiceName, folder_of


def migrate(
    names: Annotated[
        list[ServiceName] | None, typer.Argument(help="Which services; all by default.")
    ] = None,
    print_roles: Annotated[
        bool, typer.Option("--print-roles", help="Print the SQL that makes the roles, and stop.")
    ] = False,
) -> None:
    """Bring the schemas up to date; safe to run twice and by many replicas at once.

    PROSPECT_POSTGRES_OWNER_DSN (or PROSPECT_POSTGRES_OWNER_DSN_FILE) says where, as the role
    <service>_owner. The roles must be there: a
    database administrator runs what --print-roles gives, once. (A superuser's DSN makes them.)

    Examples:

      prospect migrate activity

      prospect migrate --print-roles | psql "$ADMIN_DSN"
    """
    chosen = names or list(ServiceName)
    if print_roles:
        for name in chosen:
            typer.echo(migrations.roles_of(name.value, folder_of(name)))
        return
    dsn = read_secret(OWNER_DSN, os.environ)
    if not dsn:
        raise SettingsError(f"{OWNER_DSN} is not set (see `prospect migrate --help`)")
    tls = client_context(PemFiles.of(load(PostgresFiles), "postgres"))
    for name in chosen:
        done = asyncio.run(migrations.migrate(dsn, name.value, folder_of(name), tls))
        typer.echo(f"{name.value}: {', '.join(done) if done else 'up to date'}")
