"""Nothing that a user typed stands in a log, a metric or a header of an event.

Every text of every request and event is marked, in what is taken and in what is refused.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast

import grpc
import httpx
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.errors import NotFoundError
from prospect.activity.v1 import activity_service_pb2 as activity_pb
from prospect.activity.v1 import events_pb2 as activity_events
from prospect.activity.v1.activity_service_pb2_grpc import ActivityServiceStub
from prospect.enrichment.v1 import enrichment_service_pb2 as enrichment_pb
from prospect.enrichment.v1 import events_pb2 as enrichment_events
from prospect.enrichment.v1.enrichment_service_pb2_grpc import EnrichmentServiceStub
from prospect.metrics.v1 import events_pb2 as metrics_events

from chassis.broker.client import connect
from chassis.clock import new_id
from chassis.messaging import Consumer
from devstack import servers
from devstack.stack import (
    ROOT,
    SERVICES,
    Stack,
    running,
    start_service,
    wait_serving,
)
from services import topology
from services.cli.operate.services import ServiceName
from tests.harness import Identity
from tests.invariants.rpcs import rpcs_of
from tests.invariants.test_extreme_times import a_request, code_of

MARK = f"zz{uuid.uuid4().hex[:12]}"
TYPED = f"{MARK}@secret.example"
METADATA = [
    f'{{"a": "{TYPED}"}}', f'{{"{TYPED}": "\\u0000"}}', f'{{"a": "{TYPED}", }}', f'["{TYPED}"]',
    f'{{"a": 1e400000, "b": "{TYPED}"}}', f'{{"a": "{TYPED}\\ud800"}}', f'"{TYPED}"', TYPED,
    f'{{"{TYPED}": [1e131071' + ", 1e131071" * 700 + "]}",
]  # fmt: skip
ADDRESSES = ["", TYPED, f"fe80::1%{MARK}"]
# By whom these events are handled: activity, metrics, and both with enrichment.
EVENTS: dict[type[Message], str] = {
    enrichment_events.EnrichmentCompleted: "prospect.enrich.completed.*",
    activity_events.ActivitiesRecorded: "activity.recorded.*",
    metrics_events.AggregateDaily: topology.AGGREGATE_DAILY,
    activity_events.UserErased: "tenant.erased.*",
}
ODD_VALUES = (TYPED, [TYPED], {TYPED: TYPED})
CONSUMERS = (
    topology.ENRICH_REQUESTED,
    topology.ENRICH_COMPLETED,
    topology.ACTIVITY_RECORDED,
    topology.DAILY,
    topology.METRICS_ERASED,
    topology.ENRICHMENT_ERASED,
)
JOBS = (("migrate",), ("activity", "maintain"))
ENDS_BY_AN_ERROR = """
import os, sys
from dataclasses import replace
from services.activity import wiring
build = wiring.build
async def with_bug(*given):
    async def loop(_):
        raise ValueError(os.environ["TYPED"])
    parts = await build(*given)
    return replace(parts, loops=(*parts.loops, loop))
wiring.build = with_bug
sys.argv = ["prospect", "serve", "activity"]
from services.__main__ import main
main()
"""
Path_ = tuple[FieldDescriptor, ...]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, dict[str, str]]]:
    """The whole system as processes, and where each service's metrics are read."""
    with running(tmp_path_factory.mktemp("privacy"), services=()) as stack:
        metrics = {name: f"127.0.0.1:{servers.free_port()}" for name in SERVICES}
        processes = cast("dict[str, Any]", stack.processes)
        for name in SERVICES:
            environment = stack.environments[name] | {"PROSPECT_METRICS_LISTEN": metrics[name]}  # type: ignore[operator]
            processes[name] = start_service(stack.folder, name, environment)
        for name in SERVICES:
            wait_serving(name, stack.addresses[name], processes[name], stack.folder)
        yield stack, metrics


def texts(kind: Any, above: Path_ = ()) -> Iterator[Path_]:
    """Yield the text fields of a request and of the messages in it."""
    for field in kind.fields:
        if field.type == FieldDescriptor.TYPE_STRING and not field.is_repeated:
            yield (*above, field)
        elif field.message_type and len(above) < 3:
            yield from texts(field.message_type, (*above, field))


async def type_into_every_field(stack: Stack, who: Identity) -> None:
    """Call every RPC with a marked text in each of its fields."""
    for name in ServiceName:
        async with grpc.aio.insecure_channel(stack.addresses[name]) as channel:
            for method in rpcs_of(name):
                requests = [
                    a_request(method, path, text)
                    for path in texts(method.input_type)
                    for text in (TYPED, f"https://www.linkedin.com/in/{MARK}")
                ]
                async with asyncio.TaskGroup() as calls:
                    for request in requests:
                        calls.create_task(code_of(channel, method, request, who))


async def record_all_that_is_refused(stack: Stack, who: Identity) -> None:
    """Record entries that are taken, that PostgreSQL does not take, and whose ids are taken."""
    taken = str(new_id())
    entries = [
        activity_pb.NewActivity(
            user_id=str(who.user_id),
            action_type=activity_pb.ACTION_TYPE_ADD_TO_LIST,
            target_id=TYPED,
            user_agent=TYPED,
            ip_address=address,
            metadata_json=metadata,
        )
        for metadata in METADATA
        for address in ADDRESSES
    ] + [
        activity_pb.NewActivity(
            activity_id=taken,
            user_id=str(who.user_id),
            action_type=activity_pb.ACTION_TYPE_LOGIN,
            target_id=f"{TYPED}{number}",
        )
        for number in range(2)
    ]
    async with grpc.aio.insecure_channel(stack.addresses["activity"]) as channel:
        stub: Any = ActivityServiceStub(channel)

        async def sent(call: Any) -> None:
            assert await call.code() in (grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT)

        for entry in entries:
            one = activity_pb.RecordActivityRequest(activity=entry)
            await sent(stub.RecordActivity(one, metadata=who.metadata()))
            for partial in (True, False):
                many = activity_pb.RecordActivitiesRequest(
                    activities=[entry], partial_success=partial
                )
                await sent(stub.RecordActivities(many, metadata=who.metadata()))
            wanted = activity_pb.ActivityFilter(metadata_json=entry.metadata_json)
            listed = activity_pb.ListActivitiesRequest(filter=wanted)
            await sent(stub.ListActivities(listed, metadata=who.metadata()))


async def enrich(stack: Stack, who: Identity) -> None:
    """Research a marked person to the end."""
    async with grpc.aio.insecure_channel(stack.addresses["enrichment"]) as channel:
        stub: Any = EnrichmentServiceStub(channel)
        request = enrichment_pb.RequestEnrichmentRequest(
            name=TYPED, company=TYPED, email=TYPED, title=TYPED
        )
        answer = await stub.RequestEnrichment(request, metadata=who.metadata())
        watch = enrichment_pb.WatchEnrichmentRequest(prospect_id=answer.run.prospect_id)
        async for _ in stub.WatchEnrichment(watch, metadata=who.metadata()):
            pass  # until the run has ended


async def publish_what_is_refused(client: Client, who: Identity) -> None:
    """Publish marked requests that become dead letters, and wait until none is left."""
    base = {
        "prospect_id": str(uuid.uuid4()), "tenant_id": str(who.tenant_id),
        "user_id": str(who.user_id), "name": TYPED, "company": TYPED,
    }  # fmt: skip
    wrong: list[Any] = [{"name": {"x": TYPED}}, {"priority": TYPED}, {"budget_micros": TYPED}]
    wrong += [
        {name: f"{TYPED} x"} for name in ("email", "linkedin_url", "tenant_id", "company_cik")
    ]
    wrong += [{"sources": [TYPED]}, {"is_public_company": TYPED}, {"name": f"{TYPED}\0"}]
    bodies = [json.dumps(base | each).encode() for each in wrong] + [f'{{"name": "{TYPED}'.encode()]
    for body in bodies:
        await client.jetstream().publish(
            "prospect.enrich.requested", body, headers={"content-type": "application/json"}
        )
    for event, subject in EVENTS.items():
        fields = [(field.name, value) for field in event.DESCRIPTOR.fields for value in ODD_VALUES]
        for odd in [*({name: value} for name, value in fields), {TYPED: 1}, [TYPED]]:
            await client.jetstream().publish(
                subject.replace("*", str(who.tenant_id)),
                json.dumps(odd).encode(),
                headers={"content-type": "application/json"},
            )
    async with asyncio.timeout(60):
        for consumer in CONSUMERS:
            await handled(client, consumer)


async def handled(client: Client, consumer: Consumer) -> None:
    """Wait until a consumer has handled or buried all there is for it."""
    while True:
        info = await client.jetstream().consumer_info(consumer.stream, consumer.name)
        if not info.num_pending and not info.num_ack_pending:
            return
        await asyncio.sleep(0.05)


async def headers(client: Client) -> AsyncIterator[tuple[str, str]]:
    """Yield the subject and the headers of every message of every stream."""
    jetstream = client.jetstream()
    for stream in await jetstream.streams_info():
        name = str(stream.config.name)
        for sequence in range(max(stream.state.first_seq, 1), stream.state.last_seq + 1):
            try:
                message = await jetstream.get_msg(name, sequence)
            except NotFoundError:
                continue
            yield str(message.subject), str(message.headers)


def lines_with_the_mark(folder: Path) -> dict[str, list[str]]:
    """Return what of each log names the mark."""
    logs = [path for path in folder.rglob("*.log") if path.is_file()]
    assert {"activity.log", "enrichment.log", "metrics.log", "postgres.log"} <= {
        each.name for each in logs
    }
    found = {
        path.name: [line for line in path.read_text(errors="replace").splitlines() if MARK in line]
        for path in logs
    }
    return {name: lines for name, lines in found.items() if lines}


def what_jobs_say(stack: Stack) -> str:
    """Return what the commands print that Kubernetes runs, whose output is kept as a log."""
    said = ""
    for job in JOBS:
        role = "postgres" if job == ("migrate",) else "activity_owner"
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT}:{ROOT / 'protos'}",
            "PROSPECT_POSTGRES_OWNER_DSN": stack.postgres.dsn(role),
        }
        command = [sys.executable, "-m", "services", *job]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True, cwd=ROOT
        )
        said += done.stdout + done.stderr
    return said


async def test_nothing_that_was_typed_is_told(stack: tuple[Stack, dict[str, str]]) -> None:
    system, metrics = stack
    who = Identity(system.key, uuid.uuid4(), uuid.uuid4())
    client = await connect(system.nats_url, "test")
    told: list[str] = []

    async def listen(message: Msg) -> None:
        told.append(f"{message.subject} {message.headers}")

    await client.subscribe(">", cb=listen)
    try:
        await enrich(system, who)
        await record_all_that_is_refused(system, who)
        await type_into_every_field(system, who)
        await publish_what_is_refused(client, who)
        told += [f"{subject} {given}" async for subject, given in headers(client)]
    finally:
        await client.close()
    assert [each for each in told if MARK in each] == []
    for subject in EVENTS.values():
        buried = f"dead.{subject.replace('*', str(who.tenant_id))} "
        assert any(each.startswith(buried) for each in told), buried
    async with httpx.AsyncClient() as http:
        for address in metrics.values():
            assert MARK not in (await http.get(f"http://{address}/metrics")).text
    await asyncio.sleep(0.5)  # what waits to be written is written within a tenth of a second
    assert lines_with_the_mark(system.folder) == {}
    assert MARK not in what_jobs_say(system)
    for name in SERVICES:
        for line in (system.folder / "logs" / f"{name}.log").read_text().splitlines():
            assert {"event", "level", "service", "timestamp"} <= json.loads(line).keys()


def test_a_service_that_ends_by_an_error_quotes_nothing(
    stack: tuple[Stack, dict[str, str]],
) -> None:
    system, _ = stack
    environment = system.environments["activity"] | {  # type: ignore[operator]
        "PROSPECT_LISTEN": f"127.0.0.1:{servers.free_port()}",
        "TYPED": TYPED,
    }
    command = [sys.executable, "-c", ENDS_BY_AN_ERROR]
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 1
    assert MARK not in done.stderr
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert (lines[-1]["event"], lines[-1]["service"]) == ("ended by an error", "activity")
    assert "in loop" in lines[-1]["exception"]
