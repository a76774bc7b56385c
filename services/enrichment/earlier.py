"""Runs of one prospect, one after another: what they mean to each other at the moment of a turn.

A run that has ended may have calls out still. A newer run begins none of these: it waits for them,
and takes over what they bring. The older one begins no call any more; where the prospect is asked
about in other words by now, what it still brings is not kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

import asyncpg

from chassis.database import Connection
from services.enrichment import store
from services.enrichment.findings import Answer, SourceName
from services.enrichment.run import CLAUDE, RUN_ENDED, Before, StepStatus
from services.enrichment.store import SQL, ClaimedRun


async def look_at_others(
    connection: Connection, tenant_id: UUID, runs: Sequence[ClaimedRun]
) -> None:
    """Bring what runs know of their prospects' other runs up to date; most runs have none."""
    by_id = {run.lease.run_id: run for run in runs}
    if any(run.state.status in RUN_ENDED for run in runs):
        # All of them, in order: save_turns will lock them as well.
        for row in await connection.fetch(SQL.lock_late, tenant_id, list(by_id)):
            run = by_id[row["run_id"]]
            run.outdated = row["outdated"]
            cancel = run.state.cancel_requested or row["cancel_requested"]
            run.state = replace(run.state, cancel_requested=cancel)
    following = [run_id for run_id, run in by_id.items() if run.follows]
    if following:
        for row in await connection.fetch(SQL.read_before, tenant_id, following):
            run = by_id[row["run_id"]]
            run.before = _before(row)
            run.remembered = store.remembered(row)


def _before(row: asyncpg.Record) -> Before:
    answers = {}
    for source, known in store.answers_of(row).items():
        if source is CLAUDE or known.at <= row["created_at"]:
            continue
        if known.status is StepStatus.NOT_FOUND:
            answers[source] = Answer(None)
        elif finding := store.finding_of(row, source):
            answers[source] = Answer(finding)
    return Before(_sources(row["out"]), _sources(row["lost"]), answers)


def _sources(names: Sequence[str]) -> frozenset[SourceName]:
    return frozenset(SourceName(name) for name in names)
