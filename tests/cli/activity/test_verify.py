"""`prospect activity verify` and `checkpoint` as their user meets them: output and exit code."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import Result

from chassis.database import Pool
from services.activity.proof import checkpoint as notes
from services.cli.operate.services import ServiceName
from tests.activity.sealed_log import SealedLog
from tests.cli.in_process import invoke
from tests.harness import Database, Identity, Services

pytestmark = pytest.mark.usefixtures("quiet")


async def run(*arguments: object) -> Result:
    """Run the command beside the services."""
    return await invoke("activity", *arguments, environment={"COLUMNS": "160"})


@dataclass(frozen=True)
class Kept:
    """What a user keeps elsewhere, and how to reach the service."""

    log: SealedLog
    folder: Path
    server: tuple[str, ...]

    @property
    def trust(self) -> tuple[object, ...]:
        """The options for the note and the key."""
        return (
            "--checkpoint", self.folder / "note.txt", "--public-key", self.folder / "key.pem",
        )  # fmt: skip

    async def export(self) -> Path:
        """Write a sealed export."""
        path = self.folder / "export.ndjson"
        exported = await run("export", path, "--format", "sealed-ndjson", *self.server)
        assert (exported.exit_code, exported.stderr) == (0, "")
        return path


@pytest.fixture
async def kept(
    services: Services, database: Database, pool: Pool, ours: Identity, tmp_path: Path
) -> AsyncIterator[Kept]:
    """A running service with seven sealed entries, its checkpoint and key kept by the command."""
    log = SealedLog(database, pool, services.log_key, ours.tenant_id)
    await log.sealed(3, 4)
    token = tmp_path / "token"
    token.write_text(ours.metadata()[0][1].split()[1])
    async with services.running(ServiceName.ACTIVITY):
        address = services.addresses[ServiceName.ACTIVITY]
        kept = Kept(log, tmp_path, ("--address", address, "--token-file", str(token)))
        paths = ("--note", tmp_path / "note.txt", "--public-key", tmp_path / "key.pem")
        assert (await run("checkpoint", *paths, *kept.server)).exit_code == 0
        yield kept


async def tamper(log: SealedLog) -> uuid.UUID:
    """Alter an entry; return its id."""
    rows = await log.fetch(
        "update activity.activity_log set target_id = 'other' where activity_id ="
        " (select activity_id from activity.activity_log limit 1) returning activity_id"
    )
    return uuid.UUID(str(rows[0]["activity_id"]))


async def test_an_untouched_log_is_intact_by_the_service(kept: Kept) -> None:
    done = await run("verify", *kept.server)
    assert (done.exit_code, done.stdout.splitlines()[-1][:18]) == (0, "intact (7 checked)")


async def test_an_altered_entry_is_named_by_the_service(kept: Kept) -> None:
    altered = await tamper(kept.log)
    done = await run("verify", "--json", *kept.server)
    result = json.loads(done.stdout)
    assert (done.exit_code, result["intact"], result["finding_count"]) == (1, False, 1)
    assert [(each["kind"], each["activity_id"]) for each in result["findings"]] == [
        ("altered", str(altered))
    ]


async def test_a_kept_checkpoint_is_the_beginning_of_a_log_that_grew(kept: Kept) -> None:
    await kept.log.sealed(300)
    done = await run("verify", *kept.trust, *kept.server)
    assert (done.exit_code, "intact (307 checked)" in done.stdout) == (0, True)


async def test_a_log_that_was_sealed_anew_is_not_the_one_that_was_kept(kept: Kept) -> None:
    await kept.log.fetch("delete from activity.trees")
    await kept.log.fetch("delete from activity.batches")
    await kept.log.fetch("delete from activity.activity_log")
    await kept.log.sealed(9)
    assert (await run("verify", *kept.server)).exit_code == 0
    done = await run("verify", *kept.trust, *kept.server)
    assert (done.exit_code, "is not the beginning of this one" in done.stdout) == (1, True)


async def test_a_log_that_was_cut_back_is_not_the_one_that_was_kept(kept: Kept) -> None:
    before = kept.folder / "note.txt"
    longer = notes.Statement(notes.origin_of(kept.log.tenant_id), 8, b"x" * 32)
    before.write_text(notes.sign(longer, kept.log.key))
    done = await run("verify", *kept.trust, *kept.server)
    assert (done.exit_code, "or of more of it" in done.stdout) == (1, True)


async def test_an_export_is_intact_without_a_server(kept: Kept) -> None:
    done = await run("verify", "--file", await kept.export(), *kept.trust)
    assert (done.exit_code, done.stdout[:18]) == (0, "intact (7 checked)")


async def test_an_altered_line_is_named_without_a_server(kept: Kept) -> None:
    altered = await tamper(kept.log)
    done = await run("verify", "--file", await kept.export(), *kept.trust, "--json")
    result = json.loads(done.stdout)
    assert (done.exit_code, result["tree_size"]) == (1, 7)
    assert [each["activity_id"] for each in result["findings"]] == [str(altered)]


@pytest.mark.parametrize(
    ("missing", "says"),
    [
        ("--checkpoint", "--file needs --checkpoint and --public-key"),
        ("--public-key", "--file needs --checkpoint and --public-key"),
    ],
)
async def test_a_file_is_verified_only_against_a_checkpoint_and_a_key(
    kept: Kept, missing: str, says: str
) -> None:
    at = kept.trust.index(missing)
    trust = kept.trust[:at] + kept.trust[at + 2 :]
    done = await run("verify", "--file", await kept.export(), *trust)
    assert (done.exit_code, says in done.stderr) == (2, True)


async def test_a_file_or_service_that_cannot_be_read_is_named(kept: Kept) -> None:
    (kept.folder / "key.pem").write_text("no key")
    for arguments, says in (
        (("--public-key", kept.folder / "key.pem"), "not an Ed25519 public key"),
        (("--checkpoint", kept.folder / "missing"), "cannot be read"),
        (("--token-file", kept.folder / "missing"), "no token can be read"),
        (("--address", "127.0.0.1:1"), "unavailable"),
    ):
        done = await run("verify", *kept.server, *arguments)
        assert (done.exit_code, says in done.stderr) == (2, True)


async def test_the_help_has_examples() -> None:
    done = await run("verify", "--help")
    assert "prospect activity verify --file export.ndjson" in done.stdout
