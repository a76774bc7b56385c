"""What must be true once everything runs again: the promises held against what is there."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx
import nats
import nats.errors
import nats.js.errors

from devstack.stack import Stack
from services import topology
from services.enrichment.sources.catalogue import SOURCES, SourceName
from tests.chaos.campaign.cluster import Cluster
from tests.chaos.campaign.load import Promises
from tests.chaos.killing import fetch
from tests.chaos.recount import COUNTERS, UTC_DAYS, differing
from tests.fuzz import held

QUIET_SECONDS = 180.0
PAID = [source.value for source in SourceName if SOURCES[source].is_paid]
CONSUMERS = [each for part in topology.SERVICES.values() for each in part.consumers]

TOTAL = len(("side", "tenant_id", "date", "user_id")) + COUNTERS.index("total_activities")
"""Where a differing row has the number of activities: its counters have no names."""
OUTBOX = "select count(*) as n from {service}.outbox"


@dataclass
class Verdict:
    """What was found, by kind; each entry says what."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    paid_twice: list[str] = field(default_factory=list)
    leaked: list[str] = field(default_factory=list)

    def counts(self) -> str:
        """Return the numbers in one line."""
        return (
            f"lost {len(self.lost):,}, doubled {len(self.doubled):,}, stuck {len(self.stuck):,},"
            f" paid twice {len(self.paid_twice):,}, leaked {len(self.leaked):,}"
        )

    def findings(self) -> list[str]:
        """Return every finding, with its kind."""
        return [f"{kind}: {each}" for kind, found in vars(self).items() for each in found]


async def judge(cluster: Cluster, promises: Promises, before: held.Held) -> Verdict:
    """Wait until nothing is under way, then hold every promise against what is there."""
    verdict = Verdict()
    stack = cluster.stack
    verdict.stuck = await _until_quiet(stack)
    await _log(stack, promises, verdict)
    await _counts(stack, verdict)
    await _runs(stack, promises, verdict)
    await _erased(stack, promises, verdict)
    verdict.paid_twice = await _paid_twice(stack)
    pages = {name: f"http://{each.metrics}/metrics" for name, each in cluster.replicas.items()}
    _, verdict.leaked = await held.leaked(stack, pages, before)
    return verdict


async def _until_quiet(stack: Stack) -> list[str]:
    """Wait until nothing waits or is under way; return what still does after some time."""
    deadline = time.monotonic() + QUIET_SECONDS
    while True:
        waiting = await _waiting(stack)
        if not waiting or time.monotonic() > deadline:
            return waiting
        await asyncio.sleep(1)


async def _waiting(stack: Stack) -> list[str]:
    runs = await fetch(stack, "select run_id from enrichment.runs where open")
    waiting = [f"run {row['run_id']} is open" for row in runs]
    for service in topology.SERVICES:
        (row,) = await fetch(stack, OUTBOX.format(service=service))
        if row["n"]:
            waiting.append(f"{row['n']} events are in the outbox of {service}")
    try:
        client = await nats.connect(stack.nats_url.split(","), max_reconnect_attempts=1)
    except (nats.errors.Error, OSError, TimeoutError) as error:
        return [*waiting, f"no broker: {error!r}"]
    try:
        for each in CONSUMERS:
            info = await client.jetstream().consumer_info(each.stream, each.name, timeout=2)
            if info.num_pending or info.num_ack_pending:
                waiting.append(f"{each.name}: {info.num_pending} + {info.num_ack_pending} events")
        letters = await client.jetstream().stream_info("DEAD_LETTERS")
        if letters.state.messages:
            waiting.append(f"{letters.state.messages} dead letters")
    except (nats.errors.Error, nats.js.errors.Error, TimeoutError) as error:
        waiting.append(f"the broker: {error!r}")
    finally:
        await client.close()
    return waiting


async def _log(stack: Stack, promises: Promises, verdict: Verdict) -> None:
    rows = await fetch(
        stack,
        "select activity_id::text as id, count(*) as n from activity.activity_log group by 1",
    )
    there = {row["id"]: row["n"] for row in rows}
    gone = promises.activities - there.keys()
    verdict.lost += [f"activity {each}" for each in sorted(gone)]
    verdict.doubled += [f"activity {each}" for each, times in there.items() if times > 1]


async def _counts(stack: Stack, verdict: Verdict) -> None:
    """Hold the roll-up against the log, counted again."""
    sides: dict[Any, dict[str, int]] = {}
    for row in await differing(stack, UTC_DAYS):
        key = f"usage of {row['tenant_id']} {row['user_id']} on {row['date']}"
        sides.setdefault(key, {})[row["side"]] = row[TOTAL]
    for key, totals in sides.items():
        counted, logged = totals.get("roll-up", 0), totals.get("log", 0)
        found = verdict.doubled if counted > logged else verdict.lost
        found.append(f"{key}: {counted} counted, {logged} logged")


async def _runs(stack: Stack, promises: Promises, verdict: Verdict) -> None:
    """Every run that was promised is there and has ended; each complete one is logged once."""
    rows = await fetch(stack, "select run_id::text as id, status from enrichment.runs")
    there = {row["id"]: row["status"] for row in rows}
    verdict.lost += [f"run {each}" for each in sorted(promises.runs.keys() - there.keys())]
    rows = await fetch(
        stack,
        "select metadata->>'run_id' as id, count(*) as n from activity.activity_log"
        " where action_type = 'profile_enriched' and metadata ? 'run_id' group by 1",
    )
    logged = Counter({row["id"]: row["n"] for row in rows})
    complete = {each for each, status in there.items() if status == "complete"}
    verdict.lost += [f"profile_enriched of {each}" for each in sorted(complete - logged.keys())]
    verdict.doubled += [f"profile_enriched of {each}" for each, n in logged.items() if n > 1]


async def _erased(stack: Stack, promises: Promises, verdict: Verdict) -> None:
    """Nothing of an erased user is left."""
    for table in ("activity.activity_log", "metrics.usage_metrics_daily"):
        rows = await fetch(stack, f"select distinct user_id::text as id from {table}")
        left = promises.erased.keys() & {row["id"] for row in rows}
        verdict.stuck += [f"erased user {each} is in {table}" for each in sorted(left)]


async def _paid_twice(stack: Stack) -> list[str]:
    """Of each person a source was called once, and again only where a call had failed."""
    async with httpx.AsyncClient(base_url=stack.sandbox_url) as sandbox:
        called = (await sandbox.get("/_sandbox/calls")).json()["about"]
    rows = await fetch(
        stack,
        "select a.source, p.name as person, count(*) as n from enrichment.attempts a"
        " join enrichment.runs r using (tenant_id, run_id)"
        " join enrichment.prospects p using (tenant_id, prospect_id)"
        " where a.status = 'failed' group by 1, 2",
    )
    failed: Counter[tuple[str, str]] = Counter()
    for row in rows:
        for about in called.get(row["source"], {}):
            # Some sources are asked about the person and the company in one text.
            if f"{about} ".startswith(f"{row['person']} "):
                failed[row["source"], about] += row["n"]
    return [
        f"{source} was called {times} times about {about}"
        for source in PAID
        for about, times in called.get(source, {}).items()
        if times > 1 + failed[source, about]
    ]
