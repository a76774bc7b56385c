"""What a run must know, at each turn, of the calls that earlier runs of its prospect made.

A run that has ended may have calls out still. A newer run begins none of these: it waits for them,
and takes over what they bring. The older one begins no call any more; where the prospect is asked
about in other words by now, what it still brings is not kept.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

import asyncpg

from chassis.database import Connection
from services.enrichment.run import records
from services.enrichment.run.state import RUN_ENDED, PreviousCalls, StepStatus
from services.enrichment.sources.call import Answer
from services.enrichment.sources.catalogue import SourceName
from services.enrichment.sql import SQL
from services.enrichment.worker.store import LeasedRun, Times


async def refresh_previous_calls(
    connection: Connection,
    tenant_id: UUID,
    runs: Sequence[LeasedRun],
    times: Times,
    now: datetime,
) -> None:
    """Refresh what runs know of earlier runs of their prospects; most have no earlier run."""
    by_id = {run.lease.run_id: run for run in runs}
    if any(run.state.status in RUN_ENDED for run in runs):
        # All of them, in order: save_turns will lock them as well.
        for row in await connection.fetch(SQL.lock_late, tenant_id, list(by_id)):
            run = by_id[row["run_id"]]
            run.outdated = row["outdated"]
            cancel = run.state.cancel_requested or row["cancel_requested"]
            run.state = replace(run.state, cancel_requested=cancel)
    following = [run_id for run_id, run in by_id.items() if run.has_previous_calls]
    if following:
        rows = defaultdict(list)
        for row in await connection.fetch(SQL.read_previous_calls, tenant_id, following):
            rows[row["run_id"]].append(row)
        for run_id in following:
            by_id[run_id].previous = _previous_calls(
                rows[run_id], now - times.late - times.deadline
            )
            if rows[run_id]:
                by_id[run_id].remembered = records.remembered(rows[run_id][0])


def _previous_calls(rows: Sequence[asyncpg.Record], oldest: datetime) -> PreviousCalls:
    """Return what became of calls; one that failed counts as never made.

    So does one whose run had its deadline before `oldest`: it should have ended, and delays nobody.
    """
    out, lost = set(), set()
    answers: dict[SourceName, Answer] = {}
    for row in rows:
        if records.newer_steps([row]):
            continue
        source = SourceName(row["source"])
        match StepStatus(row["status"]):
            case StepStatus.IN_PROGRESS if row["open"] and row["deadline_at"] > oldest:
                out.add(source)
            case StepStatus.FAILED if row["is_uncertain"]:
                lost.add(source)
            case StepStatus.NOT_FOUND:
                answers[source] = Answer(None, note=row["reason"])
            case StepStatus.COMPLETE if finding := records.finding_of(row, source):
                answers[source] = Answer(finding)
    return PreviousCalls(frozenset(out), frozenset(lost), answers)
