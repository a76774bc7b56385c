"""`prospect nats`: keys, and the broker's configuration made of their public halves."""

from __future__ import annotations

import stat
import uuid
from pathlib import Path

import pytest
from typer.testing import Result

from chassis.broker.client import connect_once
from chassis.identity.nats_login import Login
from devstack import servers
from tests.cli.in_process import invoke

TENANT = str(uuid.uuid4())


async def prospect(*arguments: str) -> Result:
    return await invoke(*arguments, environment={})


async def a_key(folder: Path, name: str) -> str:
    done = await prospect("nats", "key", str(folder / name))
    assert done.exit_code == 0
    return str(done.stdout).strip()


async def test_a_key_is_written_for_its_owner_alone_and_never_over_another(tmp_path: Path) -> None:
    public = await a_key(tmp_path, "one.nk")
    assert public.startswith("U")
    seed = (tmp_path / "one.nk").read_text()
    assert seed.startswith("SU")
    assert stat.S_IMODE((tmp_path / "one.nk").stat().st_mode) == 0o600
    again = await prospect("nats", "key", str(tmp_path / "one.nk"))
    assert again.exit_code == 2
    assert (tmp_path / "one.nk").read_text() == seed


@pytest.mark.parametrize("account", [[], ["--account", "PROSPECT"]])
async def test_a_broker_takes_the_configuration_and_knows_the_keys(
    tmp_path: Path, account: list[str]
) -> None:
    names = ("activity", "enrichment", "metrics", "tenant", "publisher", "operator")
    keys = {name: await a_key(tmp_path, f"{name}.nk") for name in names}
    keys |= {"tenant": f"{TENANT}={keys['tenant']}", "publisher": f"backend={keys['publisher']}"}
    options = [text for name in names for text in (f"--{name}", keys[name])]
    done = await prospect("nats", "permissions", *options, *account)
    assert done.exit_code == 0
    with servers.nats_server(tmp_path / "nats", users=done.stdout) as server:
        for name in names:
            login = Login(None, tmp_path / f"{name}.nk")
            client = await connect_once(server.url, name, login)
            await client.close()


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (["--activity", "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"], "public"),
        (["--tenant", f"acme=U{'A' * 55}"], "not a tenant's UUID"),
        (["--tenant", f"U{'A' * 55}"], "<name>=<public NKey>"),
        (["--publisher", f"a.b=U{'A' * 55}"], "<name>=<public NKey>"),
    ],
)
async def test_what_is_no_public_key_or_no_name_is_refused_and_no_seed_is_repeated(
    wrong: list[str], text: str
) -> None:
    keys = [t for name in ("activity", "enrichment", "metrics") for t in (f"--{name}", "U" * 56)]
    done = await prospect("nats", "permissions", *keys, *wrong)
    assert done.exit_code == 2
    assert text in " ".join(done.output.replace("│", " ").split())
    assert "SUACSSL3" not in done.output
