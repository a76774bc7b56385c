"""A release that meets an older database says in one line what to run, and does not serve."""

from __future__ import annotations

import pytest

from chassis.postgres.schema_check import SchemaError
from services.cli.operate.services import ServiceName, folder_of
from tests.harness import Database, Services
from tests.invariants.rpcs import settings_of

EACH = pytest.mark.parametrize("name", list(ServiceName))


async def refusal(services: Services, name: ServiceName) -> str:
    """Start a service that cannot serve, and return what it says."""
    with pytest.raises(SchemaError) as raised:
        async with services.running(name, **settings_of(name, services)):
            pass
    return str(raised.value)


@EACH
async def test_a_migration_that_is_missing_is_named(
    services: Services, database: Database, name: ServiceName
) -> None:
    newest = max(path.stem for path in (folder_of(name) / "migrations").glob("0*.sql"))
    await database.fetch(f"delete from {name}.schema_migrations where name = $1", newest)
    said = await refusal(services, name)
    assert said == (
        f"the schema {name} is older than this release, which needs {newest}:"
        f" run `prospect migrate {name}`"
    )


@EACH
async def test_a_database_without_the_schema_is_older_than_any_release(
    services: Services, database: Database, name: ServiceName
) -> None:
    await database.fetch(f"drop schema {name} cascade")
    assert f"run `prospect migrate {name}`" in await refusal(services, name)


@EACH
async def test_a_role_that_the_service_may_not_step_into_is_named(
    services: Services, database: Database, name: ServiceName
) -> None:
    role, app = f"{name}_relay", f"{name}_app"
    await database.fetch(f"revoke {role} from {app}")
    try:
        said = await refusal(services, name)
    finally:
        await database.fetch(f"grant {role} to {app} with inherit false, set true")
    assert said.startswith(f"{app} may not step into the role {role}:")
    assert "\n" not in said
