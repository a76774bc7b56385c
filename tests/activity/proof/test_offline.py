"""Offline: a sealed export proves itself with a checkpoint and a key, and no server."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chassis.clock import utc_now
from chassis.database import tenant_snapshot
from services.activity.proof import merkle
from services.activity.proof.discrepancy import Kind
from services.activity.proof.leaf import LineError, parse
from services.activity.proof.offline import OfflineVerification
from services.activity.proof.sealed_lines import sealed_lines
from tests.activity.proof.test_verification import ERASE
from tests.activity.sealed_log import RETENTION, SealedLog, entries

Lines = list[str]

text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
numbers = (
    st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.decimals(allow_nan=False, allow_infinity=False, places=5).map(float)
)
values = st.recursive(
    st.none() | st.booleans() | numbers | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=20,
)
metadata = st.dictionaries(text, values, max_size=5)
WRITTEN = (
    '{"n": 1.50, "e": 1E3, "big": 123456789012345678901234567890.10, "small": -1e-7, "z": -0}',
    '{"bb": 1, "a": {"d": [], "c": {}}, "a ": [1, [2, {"x": null}], true]}',
    '{"escapes": "\\u0001\\b\\f\\n\\r\\t\\"\\\\\\/\\u007f\\u00e9\\ud83d\\ude00 é"}',
    '{"a": 1, "a": 2}',
    "{}",
    '{"deep": ' + "[" * 2_000 + "]" * 2_000 + "}",
)


async def export(log: SealedLog, *, kept_since: datetime | None = None) -> Lines:
    """Return the lines of the sealed export."""
    async with tenant_snapshot(log.pool, log.tenant_id) as connection:
        pieces = sealed_lines(connection, log.tenant_id, kept_since or utc_now() - RETENTION)
        return [line async for piece in pieces for line in piece]


async def sealed_export(log: SealedLog, *sizes: int) -> tuple[Lines, str]:
    """Return the lines and the checkpoint of a log with batches of these sizes."""
    await log.sealed(*sizes)
    return await export(log), (await log.tree()).note


def verify(
    log: SealedLog, lines: Lines, note: str
) -> tuple[list[tuple[Kind, str]], OfflineVerification]:
    """Return (kind, id or detail) of each discrepancy, and the run with its counts."""
    done = OfflineVerification(note, log.public_key)
    found = [(each.kind, str(each.activity_id or each.detail)) for each in done.run(lines)]
    assert done.discrepancy_count == len(found)
    return found, done


def activity_id(line: str) -> str:
    """Return the id in a line."""
    return str(json.loads(line)["activity_id"])


def changed(line: str, **members: Any) -> str:
    """Return the line with other members."""
    return json.dumps(json.loads(line) | members)


async def test_an_untouched_export_is_intact(log: SealedLog) -> None:
    lines, note = await sealed_export(log, 3, 500, 20)
    found, done = verify(log, lines, note)
    assert (found, done.checked_count, done.computed.size) == ([], 523, 523)
    assert done.computed.root() == merkle.root_of(await log.leaves())


async def test_the_export_of_nothing_has_no_lines(log: SealedLog) -> None:
    assert await export(log) == []


async def test_a_sealed_export_comes_in_pieces_in_the_order_of_the_tree(
    log: SealedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.activity.proof.sealed_lines.MAX_LINES", 7)
    ids = await log.sealed(3, 20, 5)
    async with tenant_snapshot(log.pool, log.tenant_id) as connection:
        kept_since = utc_now() - RETENTION
        pieces = [each async for each in sealed_lines(connection, log.tenant_id, kept_since)]
    assert [len(each) for each in pieces] == [7, 7, 7, 7]
    lines = [json.loads(line) for piece in pieces for line in piece]
    assert [line["leaf_index"] for line in lines] == list(range(28))
    assert [uuid.UUID(line["activity_id"]) for line in lines] == ids


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(metadata, min_size=1, max_size=20))
async def test_any_metadata_has_the_same_leaf_in_python_and_in_sql(
    log: SealedLog, given_metadata: list[dict[str, Any]]
) -> None:
    fresh = replace(log, tenant_id=uuid.uuid4())
    await fresh.record(entries(len(given_metadata), metadata=given_metadata))
    await fresh.seal_all()
    lines = [parse(line) for line in await export(fresh)]
    assert [line.leaf for line in lines] == await fresh.leaves()
    assert all(line.content and line.is_as_sealed() for line in lines)


@pytest.mark.parametrize("written", WRITTEN)
async def test_metadata_as_it_may_be_written_has_the_same_leaf(
    log: SealedLog, written: str
) -> None:
    columns = entries(1)
    columns.metadata[0] = written
    await log.record(columns)
    await log.seal_all()
    (line,) = await export(log)
    assert parse(line).is_as_sealed()


async def test_any_text_time_and_address_has_the_same_leaf(log: SealedLog) -> None:
    columns = entries(4, at=utc_now() - timedelta(days=40))
    columns.target_ids = ["", 'quote " \\ \n\x7f', "é 😀", "\u2028"]
    columns.user_agents = ["", "a\tb", "ü", "x" * 512]
    columns.ip_addresses = ["", "10.0.0.1", "2001:DB8:0::1", "::ffff:1.2.3.4"]
    await log.record(columns)
    await log.seal_all()
    assert all(parse(line).is_as_sealed() for line in await export(log))


async def test_a_line_that_was_written_anew_with_other_spaces_is_the_same(log: SealedLog) -> None:
    await log.record(entries(1, metadata=[{"b": [1, {"c": "d e"}], "aa": "é"}]))
    await log.seal_all()
    (line,) = await export(log)
    for written in (json.dumps(json.loads(line), indent=1), json.dumps(json.loads(line))):
        assert parse(written) == parse(line)


@pytest.mark.parametrize(
    "members",
    [
        {"user_id": str(uuid.uuid4())},
        {"action_type": "csv_exported"},
        {"target_id": "other"},
        {"metadata": {"a": 1}},
        {"created_at": "2026-01-01T00:00:00.000000Z"},
        {"recorded_at": "2026-01-01T00:00:00.000000Z"},
        {"ip_address": ""},
        {"user_agent": ""},
        {"tenant_id": str(uuid.uuid4())},
        {"salt": str(uuid.uuid4())},
    ],
)
async def test_an_altered_line_is_named(log: SealedLog, members: dict[str, Any]) -> None:
    lines, note = await sealed_export(log, 3, 4)
    lines[4] = changed(lines[4], **members)
    found, _ = verify(log, lines, note)
    assert found == [(Kind.ALTERED, activity_id(lines[4]))]


async def test_an_altered_line_with_its_hash_made_to_fit_breaks_the_root(log: SealedLog) -> None:
    lines, note = await sealed_export(log, 3, 4)
    altered = changed(lines[4], target_id="other")
    content = parse(altered).content
    assert content is not None
    lines[4] = changed(altered, leaf_hash=merkle.leaf_hash(content).hex())
    found, _ = verify(log, lines, note)
    assert found == [(Kind.TREE, "the lines do not have the signed root")]


BROKEN: dict[str, tuple[Callable[[Lines], Any], list[tuple[Kind, str]]]] = {
    "first line gone": (
        lambda lines: lines.pop(0),
        [(Kind.REMOVED, "leaf 0 of the sealed log: gone from the file")],
    ),
    "lines gone": (
        lambda lines: (lines.pop(3), lines.pop(3)),
        [(Kind.REMOVED, "the leaves 3 to 4 of the sealed log: gone from the file")],
    ),
    "last line gone": (
        lambda lines: lines.pop(),
        [(Kind.REMOVED, "leaf 6 of the sealed log: gone from the file")],
    ),
    "all lines gone": (
        lambda lines: lines.clear(),
        [(Kind.REMOVED, "the leaves 0 to 6 of the sealed log: gone from the file")],
    ),
    "a line cut off": (
        lambda lines: lines.append(lines.pop()[:1]),
        [
            (Kind.ALTERED, "line 7: not a line of a sealed export: not an object"),
            (Kind.REMOVED, "leaf 6 of the sealed log: gone from the file"),
        ],
    ),
}


@pytest.mark.parametrize("case", BROKEN)
async def test_removed_lines_are_told_by_their_index(log: SealedLog, case: str) -> None:
    lines, note = await sealed_export(log, 3, 4)
    spoil, expected = BROKEN[case]
    spoil(lines)
    found, _ = verify(log, lines, note)
    assert found == [*expected, (Kind.TREE, "the lines do not have the signed root")]


async def test_an_inserted_line_is_named(log: SealedLog) -> None:
    lines, note = await sealed_export(log, 3, 4)
    forged = changed(lines[2], activity_id=str(uuid.uuid4()))
    found, _ = verify(log, [*lines[:3], forged, *lines[3:]], note)
    assert found == [(Kind.INSERTED, activity_id(forged))]


async def test_lines_sealed_after_the_checkpoint_are_counted_as_not_covered(
    log: SealedLog,
) -> None:
    await log.sealed(3, 4)
    note = (await log.tree()).note
    lines, _ = await sealed_export(log, 5)
    found, done = verify(log, lines, note)
    assert (found, done.checked_count, done.uncovered_count) == ([], 7, 5)


async def test_a_later_checkpoint_than_the_file_misses_its_lines(log: SealedLog) -> None:
    lines, _ = await sealed_export(log, 3, 4)
    await log.sealed(5)
    found, _ = verify(log, lines, (await log.tree()).note)
    assert [kind for kind, _ in found] == [Kind.REMOVED, Kind.TREE]


async def test_erased_and_expired_entries_are_known_by_their_hash(log: SealedLog) -> None:
    ids = await log.sealed(3, 4)
    await log.fetch(ERASE, ids[4])
    await log.fetch("delete from activity.activity_log where activity_id = $1", ids[0])
    lines = await export(log, kept_since=utc_now())
    for index, gone in ((0, "expired"), (4, "erased")):
        line = json.loads(lines[index])
        assert line.pop("gone") == gone
        assert line.keys() == {"leaf_index", "leaf_hash", "activity_id", "created_at"}
    found, done = verify(log, lines, (await log.tree()).note)
    assert found == []
    assert (done.checked_count, done.erased_count, done.expired_count) == (5, 1, 1)


async def test_an_entry_that_was_gone_without_reason_when_it_was_exported_is_named(
    log: SealedLog,
) -> None:
    ids = await log.sealed(3, 4)
    await log.fetch("delete from activity.activity_log where activity_id = $1", ids[0])
    await log.fetch("update activity.activity_log set salt = null where activity_id = $1", ids[4])
    found, _ = verify(log, await export(log), (await log.tree()).note)
    assert found == [(Kind.REMOVED, str(ids[0])), (Kind.ALTERED, str(ids[4]))]


async def test_a_line_whose_content_was_taken_away_is_named(log: SealedLog) -> None:
    lines, note = await sealed_export(log, 3, 4)
    kept = ("leaf_index", "leaf_hash", "activity_id", "created_at")
    lines[4] = json.dumps({name: json.loads(lines[4])[name] for name in kept})
    found, done = verify(log, lines, note)
    assert (found, done.checked_count) == ([(Kind.ALTERED, activity_id(lines[4]))], 6)


async def test_a_checkpoint_of_another_key_proves_nothing(log: SealedLog) -> None:
    lines, note = await sealed_export(log, 3)
    other = replace(log, key=Ed25519PrivateKey.generate())
    assert verify(other, lines, note)[0] == [
        (Kind.TREE, "the checkpoint is signed with another key")
    ]
    forged = note.replace("\n3\n", "\n2\n")
    assert verify(log, lines[:2], forged)[0] == [(Kind.TREE, "the checkpoint's signature is wrong")]


async def test_another_tenants_file_does_not_have_the_root(log: SealedLog) -> None:
    lines, _ = await sealed_export(log, 3)
    _, note = await sealed_export(replace(log, tenant_id=uuid.uuid4()), 3)
    assert [kind for kind, _ in verify(log, lines, note)[0]] == [Kind.TREE]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "[]",
        "{}",
        "{",
        '{"leaf_index"}',
        '{"leaf_index": 1, "leaf_index": 2}',
        '{"leaf_index": 0, "leaf_hash": "00", "activity_id": "", "created_at": ""}',
        json.dumps({"leaf_index": 0, "leaf_hash": sha256().hexdigest(), "salt": "x",
                    "activity_id": "", "created_at": ""}),
        '{"a": "\\ud800", "leaf_index": x}',
    ],
)  # fmt: skip
def test_what_is_no_line_is_refused(line: str) -> None:
    with pytest.raises(LineError):
        parse(line)
