"""Page and resume tokens: good for the question they came from, and for no other."""

from __future__ import annotations

import base64
import json
import struct
import uuid
from collections.abc import Callable
from hashlib import blake2b

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from chassis.database import Pool, open_pool
from chassis.errors import InvalidArgument
from chassis.settings import SettingsError
from chassis.tokens import ContinuationTokens, read_keys
from tests.harness import Database

KEYS = (b"k" * 32,)
NEW_KEY = (b"n" * 32,)
TENANT = uuid.UUID(int=7)
ASKED = StringValue(value="runs that failed")
TOKEN = ContinuationTokens(KEYS, "list", TENANT, ASKED, 1).issue(b"place")


def test_a_token_gives_its_position_back() -> None:
    assert (
        ContinuationTokens(KEYS, "list", TENANT, ASKED, 1).read("page_token", TOKEN, bytes)
        == b"place"
    )


@pytest.mark.parametrize(
    "other",
    [
        ContinuationTokens(KEYS, "tail", TENANT, ASKED, 1),
        ContinuationTokens(KEYS, "list", uuid.UUID(int=8), ASKED, 1),
        ContinuationTokens(KEYS, "list", TENANT, StringValue(), 1),
        ContinuationTokens(KEYS, "list", TENANT, ASKED, 2),
    ],
    ids=["kind", "tenant", "question", "order"],
)
def test_a_token_of_another_question_is_refused(other: ContinuationTokens) -> None:
    with pytest.raises(InvalidArgument) as refused:
        other.read("page_token", TOKEN, bytes)
    assert [each.field for each in refused.value.violations] == ["page_token"]


@pytest.mark.parametrize("token", ["", "x", "tampered", TOKEN[:-2], TOKEN + "=", "A" + TOKEN[1:]])
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidArgument):
        ContinuationTokens(KEYS, "list", TENANT, ASKED, 1).read("page_token", token, bytes)


@pytest.mark.parametrize("parse", [json.loads, struct.Struct(">q").unpack])
def test_a_token_with_a_position_of_another_kind_is_refused(
    parse: Callable[[bytes], object],
) -> None:
    with pytest.raises(InvalidArgument):
        ContinuationTokens(KEYS, "list", TENANT, ASKED, 1).read("page_token", TOKEN, parse)


def test_a_token_that_anyone_can_make_is_refused() -> None:
    """Such as tokens were: a checksum without a key, before the position."""
    said = ("list", TENANT.hex, ASKED.SerializeToString(deterministic=True), 1)
    summed = blake2b(repr(said).encode() + b"place", digest_size=8, person=b"prospect-token")
    forged = base64.urlsafe_b64encode(summed.digest() + b"place").decode()
    with pytest.raises(InvalidArgument):
        ContinuationTokens(KEYS, "list", TENANT, ASKED, 1).read("page_token", forged, bytes)


def test_a_token_signed_with_another_key_is_refused() -> None:
    with pytest.raises(InvalidArgument):
        ContinuationTokens(NEW_KEY, "list", TENANT, ASKED, 1).read("page_token", TOKEN, bytes)


def test_keys_are_changed_while_tokens_of_the_former_one_are_good() -> None:
    changing = ContinuationTokens(NEW_KEY + KEYS, "list", TENANT, ASKED, 1)
    assert changing.read("page_token", TOKEN, bytes) == b"place"
    changed = ContinuationTokens(NEW_KEY, "list", TENANT, ASKED, 1)
    assert changed.read("page_token", changing.issue(b"next"), bytes) == b"next"


async def test_the_keys_of_the_setting_are_taken_in_order(pool: Pool) -> None:
    first, second = "1" * 32, "2" * 32
    keys = await read_keys(f" {first}\n{second} ", pool)
    assert keys == (*await read_keys(first, pool), *await read_keys(second, pool))
    assert keys[0] == blake2b(first.encode(), digest_size=32).digest()


async def test_a_key_that_could_be_guessed_is_refused(pool: Pool) -> None:
    with pytest.raises(SettingsError, match="PROSPECT_TOKEN_KEYS is wrong: each key must have 32"):
        await read_keys(f"{'1' * 32} short", pool)


async def test_without_a_setting_the_replicas_of_a_service_agree_and_services_do_not(
    pool: Pool, database: Database
) -> None:
    assert await read_keys("", pool) == await read_keys("", pool)
    async with await open_pool(database.dsn("metrics_app"), schema="metrics", size=1) as other:
        assert await read_keys("", other) != await read_keys("", pool)
