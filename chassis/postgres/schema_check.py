"""Whether the database has what this release needs, asked once before a service serves."""

from __future__ import annotations

import re
from pathlib import Path

import asyncpg

from chassis.errors import OperatorError
from chassis.migrate import migrations_of, roles_of
from chassis.postgres.pool import PatientPool

_APPLIED = "select name from schema_migrations"
# The roles that the service's own steps into; those of other releases may be more.
_UNUSABLE = """
select needed.name from unnest($1::text[]) as needed (name)
left join pg_roles r on r.rolname = needed.name
where r.oid is null or not pg_has_role(r.oid, 'SET')
order by needed.name
"""
_ROLES = re.compile(r"array\[(.*?)\]")


class SchemaError(OperatorError):
    """The database is older than this release; the text says what to run."""


async def demand_schema(pool: PatientPool, service: str, folder: Path) -> None:
    """Raise SchemaError where a migration or a role of the service in `folder` is missing."""
    try:
        applied = {row["name"] for row in await pool.fetch(_APPLIED)}
    except (asyncpg.UndefinedTableError, asyncpg.InsufficientPrivilegeError):
        applied = set()
    missing = [each.name for each in migrations_of(service, folder) if each.name not in applied]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise SchemaError(
            f"the schema {service} is older than this release, which needs {missing[0]}{more}:"
            f" run `prospect migrate {service}`"
        )
    unusable = await pool.fetch(_UNUSABLE, sorted(_stepped_into(service, folder)))
    if unusable:
        raise SchemaError(
            f"{service}_app may not step into the role {unusable[0]['name']}: an administrator of"
            f" the database runs what `prospect migrate {service} --print-roles` prints"
        )


def _stepped_into(service: str, folder: Path) -> set[str]:
    """Return the narrow roles that the service's SQL of roles makes."""
    lists = _ROLES.findall(roles_of(service, folder))
    made = {name for each in lists for name in re.findall(r"'(\w+)'", each)}
    return made - {f"{service}_owner", f"{service}_app"}
