"""No RPC fails at the last time or number that a request can say: it answers or refuses."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest
from buf.validate import validate_pb2
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp

from chassis.clock import new_id
from devstack.stack import ALL_SCOPES, AUDIT_SCOPES
from services.cli.operate.services import ServiceName
from tests.harness import Identity
from tests.invariants.rpcs import NEEDED, call_of, first_answer, rpcs_of

FIRST, LAST = -62_135_596_800, 253_402_300_799
EXTREMES: dict[str, list[Any]] = {
    "time": [
        Timestamp(seconds=FIRST),
        Timestamp(seconds=FIRST, nanos=1),
        Timestamp(seconds=LAST),
        Timestamp(seconds=LAST, nanos=999_999_999),
        Timestamp(seconds=LAST + 1),
        Timestamp(seconds=FIRST - 1, nanos=999_999_999),
        Timestamp(seconds=2**63 - 1, nanos=2**31 - 1),
        Timestamp(seconds=-(2**63), nanos=-(2**31)),
        Timestamp(nanos=-1),
    ],
    "int32": [2**31 - 1, -(2**31)],
    "int64": [2**63 - 1, -(2**63), 2**62, 10**18],
    "token": ["A" * 1_000_000, "\0", "é" * 100],
}
ANSWERS = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.UNAVAILABLE,  # metrics without activity; what is not sealed yet
}
Path = tuple[FieldDescriptor, ...]


def kind_of(field: FieldDescriptor) -> str:
    """Return which extremes a field has; empty is none."""
    if field.message_type and field.message_type.full_name == "google.protobuf.Timestamp":
        return "time"
    if field.name.endswith("_token"):
        return "token"
    kinds = {FieldDescriptor.CPPTYPE_INT32: "int32", FieldDescriptor.CPPTYPE_INT64: "int64"}
    return "" if field.is_repeated else kinds.get(field.cpp_type, "")


def paths(kind: Any, above: Path = ()) -> Iterator[Path]:
    """Yield the fields of a request, and of the messages in it, that have extremes."""
    for field in kind.fields:
        if kind_of(field):
            yield (*above, field)
        elif field.message_type and len(above) < 4:
            yield from paths(field.message_type, (*above, field))


EVERY_FIELD = [
    pytest.param(name, method, path, id=f"{method.name}-{'.'.join(each.name for each in path)}")
    for name in ServiceName
    for method in rpcs_of(name)
    for path in paths(method.input_type)
]


def with_ids(message: Any) -> None:
    """Give each id of a message a value that is one."""
    for field in message.DESCRIPTOR.fields:
        rules = field.GetOptions().Extensions[validate_pb2.field].string
        if rules.uuid and not field.is_repeated and not getattr(message, field.name):
            made = new_id() if field.name == "activity_id" else uuid.uuid4()
            setattr(message, field.name, str(made))
    for field, value in message.ListFields():
        if field.message_type and not field.message_type.full_name.startswith("google."):
            for each in value if field.is_repeated else [value]:
                with_ids(each)


def a_request(method: MethodDescriptor, path: Path, value: Any) -> Any:
    """Return a valid request, but that the field at the end of the path has this value."""
    request = GetMessageClass(method.input_type)(**NEEDED.get(method.name, {}))
    holder = request
    for field in path[:-1]:
        holder = getattr(holder, field.name)
        if field.is_repeated:
            holder = holder[0] if len(holder) else holder.add()
        else:
            holder.SetInParent()
    if isinstance(value, Timestamp):
        getattr(holder, path[-1].name).CopyFrom(value)
    else:
        setattr(holder, path[-1].name, value)
    with_ids(request)
    return request


async def code_of(
    channel: grpc.aio.Channel, method: MethodDescriptor, request: Any, who: Identity
) -> Any:
    """Call an RPC; return how it ends, OK with its first answer or while it waits for news."""

    async def once() -> AsyncIterator[Any]:
        yield request

    metadata = who.metadata(f"{ALL_SCOPES} {AUDIT_SCOPES}")
    call = call_of(channel, method, once() if method.client_streaming else request, metadata)
    try:
        async with asyncio.timeout(3):
            await first_answer(call)
    except grpc.aio.AioRpcError as error:
        return error.code()
    except TimeoutError:
        pass
    finally:
        call.cancel()
    return grpc.StatusCode.OK


@pytest.mark.parametrize(("name", "method", "path"), EVERY_FIELD)
async def test_an_extreme_value_is_answered_or_refused(
    channel: grpc.aio.Channel,
    ours: Identity,
    name: ServiceName,
    method: MethodDescriptor,
    path: Path,
) -> None:
    for value in EXTREMES[kind_of(path[-1])]:
        request = a_request(method, path, value)
        assert await code_of(channel, method, request, ours) in ANSWERS, str(value)[:100]
