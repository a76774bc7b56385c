"""No RPC takes a page or resume token that it has not signed; its refusal names the field."""

from __future__ import annotations

import base64
import re
import struct
import uuid

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from chassis.tokens import PAGE_FIELDS
from devstack.stack import ROOT
from services.cli.operate.services import ServiceName
from tests.harness import Identity, violations
from tests.invariants.rpcs import NEEDED, call_of, first_answer, rpcs_of

SIGNATURES = [b"", bytes(8), bytes(16)]
POSITIONS = [
    b"", b"x", bytes(8), bytes(24), b"null", b"[]", b"[" * 99, b'[1e999, "", 0]',
    f'["2026-03-10", "{uuid.uuid4()}"]'.encode(),
    struct.pack(">q", 2**63 - 1), struct.pack(">q16s", 2**63 - 1, bytes(16)),
    struct.pack(">q16s", -(2**63), bytes(16)), struct.pack(">16sq", bytes(16), 2**63 - 1),
]  # fmt: skip
TEXTS = ["x", "tampered", "é", "\N{PILE OF POO}", "=" * 200, "A" * 200, f"{uuid.uuid4()}.7"]
FORGED = TEXTS + [
    base64.urlsafe_b64encode(signature + position).decode()
    for signature in SIGNATURES
    for position in POSITIONS
    if signature + position
]
TAKING_TOKENS = [
    pytest.param(name, method, field, id=f"{method.name}-{field}")
    for name in ServiceName
    for method in rpcs_of(name)
    for field in sorted((PAGE_FIELDS - {"page_size"}) & set(method.input_type.fields_by_name))
]


@pytest.mark.parametrize(("name", "method", "field"), TAKING_TOKENS)
async def test_an_rpc_refuses_a_token_that_it_has_not_signed(
    channel: grpc.aio.Channel,
    ours: Identity,
    name: ServiceName,
    method: MethodDescriptor,
    field: str,
) -> None:
    request = GetMessageClass(method.input_type)(**NEEDED.get(method.name, {}))
    for each in {"prospect_id", "batch_id"} & set(method.input_type.fields_by_name):
        setattr(request, each, str(uuid.uuid4()))
    for token in FORGED:
        setattr(request, field, token)
        call = call_of(channel, method, request, ours.metadata())
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await first_answer(call)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT, token
        assert [named for named, _ in violations(refused.value)] == [field], token


def test_each_rpc_has_a_kind_of_token_of_its_own() -> None:
    """Also between services: one setting may give them the same keys."""
    code = "".join(path.read_text() for path in (ROOT / "services").rglob("*_rpc.py"))
    code += (ROOT / "services/activity/reading/rpc.py").read_text()
    kinds = re.findall(r'ContinuationTokens\(\s*self\._?token_keys,\s*"([\w-]+)"', code)
    assert len(kinds) == code.count("ContinuationTokens(") == len(set(kinds))
