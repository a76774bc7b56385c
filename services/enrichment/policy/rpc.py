"""GetPolicy and UpdatePolicy: what a tenant allows, changed field by field."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from prospect.enrichment.v1 import policy_pb2 as pb

from chassis.auth import current_caller
from chassis.clock import Clock, to_timestamp
from chassis.database import Pool, tenant_transaction
from chassis.errors import FieldViolation, InvalidArgument
from chassis.interceptor import Context
from services.enrichment.policy import store
from services.enrichment.policy.policy import Policy
from services.enrichment.sources.catalogue import SourceName
from services.enrichment.sql import SQL

_DEFAULT = Policy()
# The column's value for each field that a mask may name; `sources` is merged source by source.
COLUMNS: Mapping[str, Callable[[pb.Policy], Any]] = {
    "is_stopped": lambda policy: policy.is_stopped,
    "contact_lookups": lambda policy: (
        list(policy.contact_lookups) or list(_DEFAULT.contact_lookups)
    ),
    "ask_paid_again": lambda policy: policy.ask_paid_again,
    "run_budget_micros": lambda policy: policy.run_budget_micros,
    "day_budget_micros": lambda policy: policy.day_budget_micros,
    "most_runs_at_once": lambda policy: policy.most_runs_at_once or None,
    "weight": lambda policy: policy.weight or _DEFAULT.weight,
    "debounce_seconds": lambda policy: policy.debounce_seconds,
    "sources": lambda policy: {each.source: _source_row(each) for each in policy.sources},
}


class PolicyRpc:
    """Reads and changes the policy of the caller's tenant."""

    def __init__(self, pool: Pool, clock: Clock, default: Policy) -> None:
        self._pool = pool
        self._clock = clock
        self._default = default
        self._highest = asdict(default.highest)

    async def GetPolicy(
        self, request: pb.GetPolicyRequest, context: Context
    ) -> pb.GetPolicyResponse:
        """Return the policy with the defaults filled in."""
        tenant_id = current_caller().tenant_id
        async with tenant_transaction(self._pool, tenant_id) as connection:
            policy = await store.read_policy(connection, tenant_id, self._default)
        return pb.GetPolicyResponse(policy=_message(policy))

    async def UpdatePolicy(
        self, request: pb.UpdatePolicyRequest, context: Context
    ) -> pb.UpdatePolicyResponse:
        """Change the fields that the mask names."""
        tenant_id = current_caller().tenant_id
        changed = _changed(request)
        self._refuse_above_highest(changed)
        async with tenant_transaction(self._pool, tenant_id) as connection:
            await connection.execute(SQL.add_policy, tenant_id)
            (row,) = await connection.fetch(SQL.lock_policy, tenant_id)
            values = {name: row[name] for name in COLUMNS} | changed
            values["sources"] = json.dumps(json.loads(row["sources"]) | changed.get("sources", {}))
            columns = [values[name] for name in COLUMNS]
            await connection.execute(SQL.save_policy, tenant_id, *columns, self._clock())
            policy = await store.read_policy(connection, tenant_id, self._default)
        return pb.UpdatePolicyResponse(policy=_message(policy))

    def _refuse_above_highest(self, changed: Mapping[str, Any]) -> None:
        above = [
            FieldViolation(
                f"policy.{name}", "policy.highest", f"the operator allows {most} at most"
            )
            for name, most in self._highest.items()
            if (changed.get(name) or 0) > most
        ]
        if above:
            raise InvalidArgument.of(above)


def _changed(request: pb.UpdatePolicyRequest) -> dict[str, Any]:
    """Return the new values of the fields that the mask names."""
    paths = list(request.update_mask.paths)
    if not paths:
        raise InvalidArgument.field("update_mask", "field_mask.not_empty", "must name a field")
    known = ", ".join(COLUMNS)
    unknown = [
        FieldViolation("update_mask", "field_mask.known", f"{path} is not one of {known}")
        for path in paths
        if path not in COLUMNS
    ]
    if unknown:
        raise InvalidArgument.of(unknown)
    names = [each.source for each in request.policy.sources]
    if len(names) > len(set(names)):
        raise InvalidArgument.field("policy.sources", "policy.unique", "must name a source once")
    return {path: COLUMNS[path](request.policy) for path in paths}


def _source_row(allowed: pb.SourcePolicy) -> dict[str, Any]:
    return {
        "is_enabled": allowed.is_enabled,
        "fresh_for_seconds": allowed.fresh_for_seconds,
        "day_budget_micros": allowed.day_budget_micros,
        "look_back_days": allowed.look_back_days,
    }


def _message(policy: Policy) -> pb.Policy:
    sources = [
        pb.SourcePolicy(
            source=source.value,
            is_enabled=policy.source(source).is_enabled,
            fresh_for_seconds=int(policy.fresh_for(source).total_seconds()),
            day_budget_micros=policy.source(source).day_budget_micros,
            look_back_days=policy.source(source).look_back_days,
        )
        for source in SourceName
    ]
    plain = {name: getattr(policy, name) for name in COLUMNS if name != "sources"}
    return pb.Policy(sources=sources, updated_at=to_timestamp(policy.updated_at), **plain)
