"""The demo's steps: a day of activity, some enrichments, and the usage that they make.

It calls the services as a back end would: over gRPC with a bearer token, and once over NATS.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import grpc
from prospect.activity.v1 import activity_service_pb2 as activity_pb
from prospect.activity.v1 import activity_service_pb2_grpc as activity_api
from prospect.enrichment.v1 import enrichment_service_pb2 as enrichment_pb
from prospect.enrichment.v1 import enrichment_service_pb2_grpc as enrichment_api
from prospect.enrichment.v1 import events_pb2, prospect_pb2
from prospect.metrics.v1 import metrics_service_pb2 as metrics_pb
from prospect.metrics.v1 import metrics_service_pb2_grpc as metrics_api
from rich.console import Console
from rich.live import Live

from chassis import messaging
from chassis.broker.client import connect
from chassis.clock import new_id, to_timestamp, utc_now
from chassis.messaging import OutgoingEvent
from devstack.stack import Stack
from services import topology
from services.cli.enrich.follow import apply
from services.cli.enrich.prospect_panel import prospect_panel
from services.cli.enrich.tables import cost_micros
from services.cli.stack import tables
from services.cli.terminal.dollars import dollars

ACTIVITIES = 5_000
BATCH = 1_000
WAIT_SECONDS = 30.0
Metadata = tuple[tuple[str, str], ...]
# How often each action occurs in a seller's day, as weights.
DAY: dict[str, int] = {
    "LOGIN": 4,
    "SEARCH_EXECUTED": 22,
    "PROFILE_VIEWED": 38,
    "ADD_TO_LIST": 12,
    "REMOVE_FROM_LIST": 2,
    "STATUS_UPDATED": 8,
    "NOTE_ADDED": 8,
    "CSV_EXPORTED": 1,
    "PERSONA_CREATED": 1,
    "LOOKALIKE_SEARCH": 4,
}
USERS = {
    "Ana": uuid.UUID("0192f0c1-0000-7000-8000-00000000000a"),
    "Ben": uuid.UUID("0192f0c1-0000-7000-8000-00000000000b"),
    "Chloe": uuid.UUID("0192f0c1-0000-7000-8000-00000000000c"),
    "Dmitri": uuid.UUID("0192f0c1-0000-7000-8000-00000000000d"),
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A prospect that the demo asks for."""

    name: str
    company: str
    title: str
    cik: str = ""
    over_nats: bool = False
    prospect_id: uuid.UUID = field(default_factory=new_id)


def _wanted() -> list[Wanted]:
    return [
        Wanted("Katherine Adams", "Apple Inc.", "General Counsel", "320193"),
        Wanted("Michael Scarpelli", "Snowflake Inc.", "CFO", "1640147"),
        Wanted("Jessica Garascia", "AAR CORP", "General Counsel", "1750", over_nats=True),
        Wanted("Ada Lovelace", "Analytical Engines Ltd", "Head of Research"),
        Wanted("Nora Nobody", "Quiet Holdings", "Director"),
    ]


async def tell(stack: Stack, console: Console, tenant_id: uuid.UUID) -> None:
    """Run the main job and print each part."""
    ana = USERS["Ana"]
    metadata: Metadata = (("authorization", f"Bearer {stack.token(tenant_id, ana)}"),)
    async with (
        grpc.aio.insecure_channel(stack.addresses["activity"]) as activity,
        grpc.aio.insecure_channel(stack.addresses["enrichment"]) as enrichment,
        grpc.aio.insecure_channel(stack.addresses["metrics"]) as metrics,
    ):
        console.rule("1  A day of activity, over gRPC")
        await _record_day(activity_api.ActivityServiceStub(activity), metadata, console)
        console.rule("2  Enrichments, live")
        stub = enrichment_api.EnrichmentServiceStub(enrichment)
        wanted = _wanted()
        await _request(stub, metadata, stack, tenant_id, wanted)
        runs = await _watch(stub, metadata, console, wanted)
        runs.append(await _ask_again(stub, metadata, console, wanted[0]))
        console.rule("3  Finished prospects")
        for each in wanted[:2]:
            request = enrichment_pb.GetProspectRequest(prospect_id=str(each.prospect_id))
            response = await stub.GetProspect(request, metadata=metadata)
            console.print(prospect_panel(response.prospect))
        console.rule("4  The day's usage, from metrics")
        complete = [run for run in runs if run.status == prospect_pb2.ENRICHMENT_STATUS_COMPLETE]
        rows = await _usage(metrics_api.MetricsServiceStub(metrics), metadata, len(complete))
        names = {str(user_id): name for name, user_id in USERS.items()}
        console.print(tables.usage_by_user(rows, names), tables.usage_chart(rows, names))


async def _record_day(
    stub: activity_api.ActivityServiceAsyncStub, metadata: Metadata, console: Console
) -> None:
    now = utc_now()
    day = _day_of_activities(now)
    started = asyncio.get_running_loop().time()
    recorded = 0
    for start in range(0, len(day), BATCH):
        request = activity_pb.RecordActivitiesRequest(activities=day[start : start + BATCH])
        response = await stub.RecordActivities(request, metadata=metadata)
        recorded += response.recorded_count
    seconds = asyncio.get_running_loop().time() - started
    console.print(
        f"{recorded:,} activities of {len(USERS)} users recorded in {seconds:.2f} s "
        f"({recorded / seconds:,.0f}/s, each batch of {BATCH:,} durable before its answer)."
    )
    page = await stub.ListActivities(
        activity_pb.ListActivitiesRequest(page_size=5), metadata=metadata
    )
    names = {str(user_id): name for name, user_id in USERS.items()}
    console.print(tables.activities(page.activities, names))


def _day_of_activities(now: datetime) -> list[activity_pb.NewActivity]:
    """Make the tenant's day up to now, the same for the same day."""
    dice = random.Random(now.date().toordinal())  # noqa: S311 -- a story, not a secret
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    users = dice.choices(list(USERS.values()), weights=[40, 30, 20, 10], k=ACTIVITIES)
    actions = dice.choices(list(DAY), weights=list(DAY.values()), k=ACTIVITIES)
    offsets = sorted(dice.random() for _ in range(ACTIVITIES))
    return [
        _new_activity(user, action, midnight + (now - midnight) * offset, dice)
        for user, action, offset in zip(users, actions, offsets, strict=True)
    ]


def _new_activity(
    user: uuid.UUID, action: str, moment: datetime, dice: random.Random
) -> activity_pb.NewActivity:
    metadata = {
        "SEARCH_EXECUTED": dice.choice(('{"query": "cfo"}', '{"query": "general counsel"}')),
        "ADD_TO_LIST": dice.choice(('{"new_list": true}', '{"list": "Q4"}', '{"list": "Q4"}')),
    }
    return activity_pb.NewActivity(
        activity_id=str(new_id(moment)),
        user_id=str(user),
        action_type=activity_pb.ActionType.Value(f"ACTION_TYPE_{action}"),
        metadata_json=metadata.get(action, ""),
        created_at=to_timestamp(moment),
    )


async def _request(
    stub: enrichment_api.EnrichmentServiceAsyncStub,
    metadata: Metadata,
    stack: Stack,
    tenant_id: uuid.UUID,
    wanted: Iterable[Wanted],
) -> None:
    client = await connect(stack.nats_url, "a-back-end")
    for each in wanted:
        if each.over_nats:
            await messaging.publish(client, _as_event(each, tenant_id))
        else:
            await stub.RequestEnrichment(_as_request(each), metadata=metadata)
    await client.close()


def _as_request(wanted: Wanted) -> enrichment_pb.RequestEnrichmentRequest:
    return enrichment_pb.RequestEnrichmentRequest(
        prospect_id=str(wanted.prospect_id),
        name=wanted.name,
        company=wanted.company,
        title=wanted.title,
        is_public_company=bool(wanted.cik),
        company_cik=wanted.cik,
    )


def _as_event(wanted: Wanted, tenant_id: uuid.UUID) -> OutgoingEvent:
    message = events_pb2.EnrichmentRequested(
        prospect_id=str(wanted.prospect_id),
        tenant_id=str(tenant_id),
        user_id=str(USERS["Ben"]),
        name=wanted.name,
        company=wanted.company,
        title=wanted.title,
        is_public_company=bool(wanted.cik),
        company_cik=wanted.cik,
    )
    return OutgoingEvent.of(topology.REQUESTED, message, "a-back-end")


async def _watch(
    stub: enrichment_api.EnrichmentServiceAsyncStub,
    metadata: Metadata,
    console: Console,
    wanted: list[Wanted],
) -> list[prospect_pb2.Run]:
    """Show every prospect's sources as they come in; return the runs as they ended."""
    runs: dict[uuid.UUID, prospect_pb2.Run] = {}
    labels = {w.prospect_id: (w.name, "NATS" if w.over_nats else "gRPC") for w in wanted}
    with Live(console=console, refresh_per_second=10, get_renderable=lambda: tables.progress(
        labels, runs
    )):  # fmt: skip
        await asyncio.gather(*(_follow(stub, metadata, w.prospect_id, runs) for w in wanted))
    console.print()
    return list(runs.values())


async def _follow(
    stub: enrichment_api.EnrichmentServiceAsyncStub,
    metadata: Metadata,
    prospect_id: uuid.UUID,
    runs: dict[uuid.UUID, prospect_pb2.Run],
) -> None:
    """Follow one run; what was asked over NATS may take a moment to be there."""
    request = enrichment_pb.WatchEnrichmentRequest(prospect_id=str(prospect_id))
    until = utc_now() + timedelta(seconds=WAIT_SECONDS)
    while True:
        try:
            async for update in stub.WatchEnrichment(request, metadata=metadata):
                if update.HasField("snapshot"):
                    runs[prospect_id] = update.snapshot
                else:
                    apply(runs[prospect_id], update.change)
            return
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND or utc_now() > until:
                raise
            await asyncio.sleep(0.1)


async def _ask_again(
    stub: enrichment_api.EnrichmentServiceAsyncStub,
    metadata: Metadata,
    console: Console,
    wanted: Wanted,
) -> prospect_pb2.Run:
    """Ask for a prospect whose answers all still stand: nothing is bought twice."""
    started = asyncio.get_running_loop().time()
    await stub.RequestEnrichment(_as_request(wanted), metadata=metadata)
    runs: dict[uuid.UUID, prospect_pb2.Run] = {}
    await _follow(stub, metadata, wanted.prospect_id, runs)
    run, seconds = runs[wanted.prospect_id], asyncio.get_running_loop().time() - started
    console.print(
        f"Asked for again: {wanted.name} is there in {seconds:.2f} s for "
        f"{dollars(cost_micros(run))}, since every answer still stands.\n"
    )
    return run


async def _usage(
    stub: metrics_api.MetricsServiceAsyncStub, metadata: Metadata, enriched: int
) -> list[metrics_pb.DailyUsage]:
    """Read today's usage once the events of what was done above have been counted."""
    today = utc_now().date().isoformat()
    request = metrics_pb.GetUsageRequest(start_date=today, end_date=today)
    until = utc_now() + timedelta(seconds=WAIT_SECONDS)
    while True:
        rows = list((await stub.GetUsage(request, metadata=metadata)).rows)
        counted = sum(row.total_activities for row in rows)
        if counted >= ACTIVITIES + enriched or utc_now() > until:
            return rows
        await asyncio.sleep(0.1)
