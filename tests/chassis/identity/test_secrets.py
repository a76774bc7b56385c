"""What is said of addresses and errors has no password in it, and private files are private."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from chassis.database import connect_as_owner, reaching_by
from chassis.identity.secrets import masked, private, without_password
from chassis.settings import SettingsError
from devstack import servers
from services.cli.operate.services import ServiceName
from tests.harness import Services

SECRET = "s3cret-w0rd"
UNREADABLE = [
    f"postgresql://app:{SECRET}#x@127.0.0.1:1/db",
    f"postgresql://app:{SECRET}/x@127.0.0.1:1/db",
    f"postgresql://app:x?{SECRET}@127.0.0.1:1/db",
    f"postgresql://app:x:{SECRET}@127.0.0.1:1/db",
    f"postgresql://app:{SECRET}@[::1/db",
    f"postgresql://app:{SECRET}@127.0.0.1:{SECRET}/db",
    f"postgresql://app:{SECRET}@127.0.0.1:99999/db",
    f"{SECRET}://app:{SECRET}@127.0.0.1/db",
    f"host=127.0.0.1 port=1 user=app password={SECRET}",
    f"postgresql://127.0.0.1:1/db?user=app&password={SECRET}",
    f"postgresql://app:{SECRET}@127.0.0.1:1/db",
    SECRET,
]


@pytest.mark.parametrize("dsn", UNREADABLE)
async def test_a_dsn_that_leads_nowhere_is_told_without_its_password(dsn: str) -> None:
    with pytest.raises(SettingsError, match=r"^PROSPECT_POSTGRES_OWNER_DSN") as refused:
        await connect_as_owner(dsn)
    assert SECRET not in str(refused.value)
    assert refused.value.__suppress_context__


async def test_a_service_in_trouble_logs_no_password(
    services: Services, nats_server: servers.Nats
) -> None:
    dsn = services.database.dsn("activity_app").replace("_app@", f"_app:{SECRET}@")
    url = nats_server.url.replace("nats://", f"nats://app:{SECRET}@")
    with capture_logs() as logs:
        async with services.running(ServiceName.ACTIVITY, postgres_dsn=dsn, nats_url=url):
            nats_server.process.kill()
            await services.database.end_sessions()
            async with asyncio.timeout(20):
                while not any(each["event"] == "nats trouble" for each in logs):
                    await asyncio.sleep(0.01)
    assert SECRET not in str(logs)


def test_a_password_that_is_taken_for_the_database_is_masked_in_the_servers_words() -> None:
    dsn = f"postgresql://app:/{SECRET}@db.example/prospect"
    with pytest.raises(SettingsError) as refused, reaching_by("PROSPECT_POSTGRES_DSN", dsn):
        raise ConnectionError(f'database "{SECRET}@db.example/prospect" does not exist')
    assert str(refused.value) == (
        'PROSPECT_POSTGRES_DSN: no connection: database "***@db.example/prospect" does not exist'
    )


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("nats://nats:4222", "nats://nats:4222"),
        (f"nats://app:{SECRET}@nats:4222", "nats://***@nats:4222"),
        (f"nats://{SECRET}@nats:4222", "nats://***@nats:4222"),
        (f"https://app:{SECRET}/@:#x@example.com/keys", "https://***@example.com/keys"),
        (f"two: a://x:{SECRET}@b and c://{SECRET}@d", "two: a://***@b and c://***@d"),
        (
            f"postgresql://db/x?PASSWORD={SECRET}&user=app",
            "postgresql://db/x?PASSWORD=***&user=app",
        ),
        (f"user=app sslpassword={SECRET} host=db", "user=app sslpassword=*** host=db"),
    ],
)
def test_an_address_is_shown_without_user_and_password(address: str, shown: str) -> None:
    assert masked(address) == shown


def test_the_users_name_stays_in_an_error() -> None:
    text = 'password authentication failed for user "app"'
    assert without_password(text, f"postgresql://app:{SECRET}@db/x") == text


@pytest.mark.parametrize(
    ("password", "text", "shown"),
    [
        ("xyz/axyz", "no host axyz", "no host ***"),
        ("axyz/xyz", "no host axyz", "no host ***"),
        ("ab/xyz", "port ab of xyz", "port ab of ***"),
    ],
    ids=["a-part-in-another", "and-first", "too-short-to-tell"],
)
def test_each_part_of_a_password_is_masked_whole(password: str, text: str, shown: str) -> None:
    assert without_password(text, f"postgresql://app:{password}@db/x") == shown


def test_a_private_file_is_its_owners_alone_from_the_first_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[int] = []

    def narrow(descriptor: int, mode: int) -> None:
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))

    monkeypatch.setattr(os, "fchmod", narrow)
    with open(tmp_path / "token", "w", opener=private):
        assert modes == [0o600]


@pytest.mark.parametrize("mode", [None, 0o644])
def test_a_private_file_is_its_owners_alone_also_when_it_was_there(
    tmp_path: Path, mode: int | None
) -> None:
    path = tmp_path / "token"
    if mode is not None:
        path.touch(mode)
        path.chmod(mode)
    with open(path, "w", opener=private) as file:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        file.write("token")
    assert path.read_text() == "token"


def test_what_is_no_file_keeps_its_rights() -> None:
    before = Path("/dev/null").stat().st_mode
    with open("/dev/null", "w", opener=private):
        assert Path("/dev/null").stat().st_mode == before
