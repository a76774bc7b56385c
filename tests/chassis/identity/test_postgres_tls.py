"""Postgres over TLS: real handshakes, certificates of both sides, changed files, never without."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from chassis.database import connect_as_owner, open_pool
from chassis.identity.certificates import PemFiles, client_context
from chassis.migrate import migrate
from chassis.settings import SettingsError
from services.cli.operate.services import ServiceName
from tests.certificates import Certificates
from tests.cli.process import prospect
from tests.harness import Database, Services
from tests.tls_terminator import Terminator, terminating

OWNER = "activity_owner"


@pytest.fixture
async def postgres_tls(database: Database, certificates: Certificates) -> AsyncIterator[Terminator]:
    """The test's database behind TLS."""
    async with terminating(database, certificates) as terminator:
        yield terminator


def files_of(certificates: Certificates, client: str = "") -> PemFiles:
    authority = certificates.path("ca")
    if not client:
        return PemFiles("postgres", authority=authority)
    return PemFiles("postgres", certificates.path(client), certificates.key(client), authority)


async def test_a_server_is_verified_by_its_authority(
    postgres_tls: Terminator, certificates: Certificates, strangers: Certificates
) -> None:
    dsn = postgres_tls.dsn(OWNER)
    connection = await connect_as_owner(dsn, client_context(files_of(certificates)))
    assert await connection.fetchval("select current_user") == OWNER
    await connection.close()
    with pytest.raises(SettingsError, match=r"no connection: .* certificate verify failed"):
        await connect_as_owner(dsn, client_context(files_of(strangers)))


async def test_a_server_with_another_name_is_refused(
    postgres_tls: Terminator, certificates: Certificates
) -> None:
    certificates.issue("server", "db.example")
    with pytest.raises(SettingsError, match="IP address mismatch"):
        await connect_as_owner(postgres_tls.dsn(OWNER), client_context(files_of(certificates)))


async def test_with_files_a_server_without_tls_is_refused_whatever_the_dsn_says(
    postgres_tls: Terminator, certificates: Certificates
) -> None:
    postgres_tls.has_tls = False
    dsn = f"{postgres_tls.dsn(OWNER)}?sslmode=prefer"
    with pytest.raises(SettingsError, match="rejected SSL upgrade"):
        await connect_as_owner(dsn, client_context(files_of(certificates)))


async def test_a_server_that_demands_a_certificate_gets_the_right_one_only(
    postgres_tls: Terminator, certificates: Certificates, strangers: Certificates
) -> None:
    postgres_tls.demands_certificate = True
    connection = await connect_as_owner(
        postgres_tls.dsn(OWNER), client_context(files_of(certificates, "crm"))
    )
    await connection.close()
    assert set(postgres_tls.clients) == {"crm"}
    pair = strangers.path("prospect-metrics"), strangers.key("prospect-metrics")
    forged = PemFiles("postgres", *pair, authority=certificates.path("ca"))
    for wrong in (files_of(certificates), forged):
        with pytest.raises(SettingsError, match="no connection"):
            await connect_as_owner(postgres_tls.dsn(OWNER), client_context(wrong))
    assert set(postgres_tls.clients) == {"crm"}


async def test_an_open_pool_follows_a_change_of_all_certificates(
    postgres_tls: Terminator, certificates: Certificates, strangers: Certificates
) -> None:
    postgres_tls.demands_certificate = True
    tls = client_context(files_of(certificates, "crm"))
    dsn = postgres_tls.dsn("activity_app")
    async with await open_pool(dsn, schema="activity", size=1, tls=tls) as pool:
        for file in ("ca", "server", "server-key"):
            shutil.copy(strangers.path(file), certificates.path(file))
        await pool.expire_connections()
        with pytest.raises(asyncpg.ConnectionDoesNotExistError):  # its own is of before
            await pool.fetchval("select 1")
        for file, source in {"crm": "prospect-metrics", "crm-key": "prospect-metrics-key"}.items():
            shutil.copy(strangers.path(source), certificates.path(file))
        assert await pool.fetchval("select 1") == 1
    assert list(dict.fromkeys(postgres_tls.clients)) == ["crm", "prospect-metrics"]


async def test_a_server_of_another_authority_is_not_migrated(
    postgres_tls: Terminator, strangers: Certificates, tmp_path: Path
) -> None:
    tls = client_context(files_of(strangers))
    with pytest.raises(SettingsError, match="certificate verify failed"):
        await migrate(postgres_tls.dsn(OWNER), "activity", tmp_path, tls)


async def test_migrations_and_a_service_run_over_tls(
    postgres_tls: Terminator, certificates: Certificates, services: Services
) -> None:
    authority = certificates.path("ca")
    done = await asyncio.to_thread(
        prospect, "migrate", "activity",
        PROSPECT_POSTGRES_OWNER_DSN=postgres_tls.dsn(OWNER),
        PROSPECT_POSTGRES_CA_FILE=str(authority),
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "activity: up to date\n")
    settings = {"postgres_dsn": postgres_tls.dsn("activity_app"), "postgres_ca_file": authority}
    async with services.running(ServiceName.ACTIVITY, **settings):
        assert len(postgres_tls.clients) >= 3  # the command's, and those of two pools
