"""A client proves to a real broker who it is, by an NKey or by a JWT; others are sent away."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nats.errors
import nkeys
import pytest
from nats.aio.client import Client

from chassis.broker.client import connect_once
from chassis.identity.nats_login import (
    JWT_BEGINS,
    SEED_BEGINS,
    Login,
    LoginError,
    public_key_of,
)
from chassis.settings import SettingsError
from devstack import servers
from services.cli.operate.services import ServiceName
from tests.harness import Identity, Services

AN_ACCOUNT = bytes(nkeys.encode_seed(bytes(32), nkeys.PREFIX_BYTE_ACCOUNT))


def a_key(kind: int) -> tuple[str, bytearray]:
    """Return a new key's public half and its seed."""
    seed = bytearray(nkeys.encode_seed(os.urandom(32), kind))
    return bytes(nkeys.from_seed(bytearray(seed)).public_key).decode(), seed


def signed(seed: bytearray, subject: str, name: str, claims: dict[str, Any]) -> str:
    """Return a JWT as NATS signs them."""
    key = nkeys.from_seed(bytearray(seed))
    issuer = bytes(key.public_key).decode()
    payload = {"jti": name, "iat": 0, "iss": issuer, "name": name, "sub": subject, "nats": claims}
    header = {"typ": "JWT", "alg": "ed25519-nkey"}
    text = b".".join(_encode(json.dumps(each).encode()) for each in (header, payload))
    return b".".join([text, _encode(key.sign(text))]).decode()


def _encode(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")


def creds(user_jwt: str, seed: bytearray) -> str:
    return (
        f"-----BEGIN NATS USER JWT-----\n{user_jwt}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed.decode()}\n------END USER NKEY SEED------\n"
    )


def by_nkey(folder: Path) -> tuple[str, Login]:
    """Return a broker's configuration that knows one NKey, and the login with it."""
    public, seed = a_key(nkeys.PREFIX_BYTE_USER)
    file = folder / "user.nk"
    file.write_bytes(bytes(seed) + b"\n")
    assert public_key_of(file) == public
    return f"authorization {{ users: [ {{ nkey: {public} }} ] }}\n", Login(None, file)


def by_jwt(folder: Path) -> tuple[str, Login]:
    """Return a broker's configuration that trusts an operator, and the login of his user."""
    operator, operator_seed = a_key(nkeys.PREFIX_BYTE_OPERATOR)
    account, account_seed = a_key(nkeys.PREFIX_BYTE_ACCOUNT)
    system, _ = a_key(nkeys.PREFIX_BYTE_ACCOUNT)
    user, user_seed = a_key(nkeys.PREFIX_BYTE_USER)
    no_limit = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1)
    # Storage is what lets an account have JetStream, and the system account must not.
    limits = no_limit | {
        "mem_storage": -1,
        "disk_storage": -1,
        "streams": -1,
        "consumer": -1,
        "wildcards": True,
    }
    of_account = {"limits": limits, "type": "account", "version": 2}
    of_user = {"subs": -1, "data": -1, "payload": -1, "type": "user", "version": 2}
    accounts = {
        account: signed(operator_seed, account, "A", of_account),
        system: signed(operator_seed, system, "SYS", of_account | {"limits": no_limit}),
    }
    file = folder / "user.creds"
    file.write_text(creds(signed(account_seed, user, "U", of_user), user_seed))
    trusted = signed(operator_seed, operator, "O", {"type": "operator", "version": 2})
    preload = ", ".join(f"{name}: {token}" for name, token in accounts.items())
    users = f"operator: {trusted}\nsystem_account: {system}\nresolver: MEMORY\n"
    return f"{users}resolver_preload: {{ {preload} }}\n", Login(file, None)


async def works(client: Client) -> None:
    jetstream = client.jetstream()
    await jetstream.add_stream(name="S", subjects=["s"])
    await jetstream.publish("s", b"")


@pytest.mark.parametrize("way", [by_nkey, by_jwt])
async def test_who_has_the_key_is_let_in_and_who_has_not_is_sent_away(
    tmp_path: Path, way: Callable[[Path], tuple[str, Login]]
) -> None:
    users, login = way(tmp_path)
    with servers.nats_server(tmp_path / "nats", users=users) as server:
        client = await connect_once(server.url, "test", login)
        await works(client)
        await client.close()
        with pytest.raises(nats.errors.Error, match="Authorization Violation"):
            await connect_once(server.url, "test")
        _, other = way(tmp_path)
        with pytest.raises(nats.errors.Error, match="Authorization Violation"):
            await connect_once(server.url, "test", other)


async def test_a_service_shows_its_key(tmp_path: Path, services: Services, ours: Identity) -> None:
    users, login = by_nkey(tmp_path)
    with servers.nats_server(tmp_path / "closed", users=users) as server:
        services.nats_url = server.url
        async with services.running(ServiceName.ACTIVITY, nats_nkey_seed_file=login.nkey_seed_file):
            pass


@pytest.mark.parametrize(
    ("setting", "content", "text"),
    [
        ("nkey_seed", None, "cannot be read: No such file"),
        ("nkey_seed", b"", "is no seed of a user's NKey"),
        ("nkey_seed", b"SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3V\n", "is no seed"),
        ("nkey_seed", b"\xff\xfe", "is no seed"),
        (
            "nkey_seed",
            AN_ACCOUNT,
            "is no seed of a user's NKey",
        ),
        ("credentials", None, "cannot be read: No such file"),
        ("credentials", b"SUA", "is no credentials file"),
        ("credentials", JWT_BEGINS + b"\nSUA", "is no credentials file"),
        ("credentials", SEED_BEGINS + b"\nSUA", "is no credentials file"),
    ],
)
async def test_a_file_that_is_none_stops_the_start_and_is_not_quoted(
    tmp_path: Path, services: Services, setting: str, content: bytes | None, text: str
) -> None:
    file = tmp_path / "file"
    if content is not None:
        file.write_bytes(content)
    settings: Any = {f"nats_{setting}_file": file}
    with pytest.raises(SettingsError, match=text) as refused:
        async with services.running(ServiceName.ACTIVITY, **settings):
            pass
    assert str(refused.value).startswith(f"PROSPECT_NATS_{setting.upper()}_FILE: ")
    assert "SUA" not in str(refused.value).replace("(SU…)", "")


def test_two_ways_at_once_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LoginError, match="give one"):
        Login(tmp_path / "a", tmp_path / "b").check()
