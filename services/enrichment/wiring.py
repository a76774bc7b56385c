"""The composition root of the enrichment service."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial

from prospect.enrichment.v1 import enrichment_service_pb2 as pb

from chassis.service import Foundation, Parts
from services import topology
from services.enrichment import events
from services.enrichment.api import rpcs
from services.enrichment.availability.breaker import Breakers
from services.enrichment.availability.rate import Limits
from services.enrichment.availability.rpc import AvailabilityRpc
from services.enrichment.clients import open_clients
from services.enrichment.erasure.history_keeper import Keeper
from services.enrichment.erasure.rpc import ErasureRpc
from services.enrichment.intake.batch import BatchFollower
from services.enrichment.intake.batch_rpc import BatchRpc
from services.enrichment.intake.estimate_rpc import EstimateRpc
from services.enrichment.intake.estimator import Estimator
from services.enrichment.intake.intake import Intake
from services.enrichment.intake.replay_rpc import ReplayRpc
from services.enrichment.intake.request_rpc import RequestRpc
from services.enrichment.intake.steer_rpc import SteerRpc
from services.enrichment.policy.policy import Highest, Policy
from services.enrichment.policy.rpc import PolicyRpc
from services.enrichment.policy.suppression import Hasher
from services.enrichment.policy.suppression_rpc import SuppressionRpc
from services.enrichment.reading.get_rpc import GetRpc
from services.enrichment.reading.list_rpc import ListRpc
from services.enrichment.reading.wakeups import Watchers
from services.enrichment.reading.watch_rpc import WatchRpc
from services.enrichment.settings import Settings
from services.enrichment.sources.catalogue import SourceName
from services.enrichment.sources.claude.client import memo_key
from services.enrichment.sources.claude.template import templated
from services.enrichment.worker.execution import Ask, Execution
from services.enrichment.worker.hints import Hints
from services.enrichment.worker.loop import Worker
from services.enrichment.worker.run_rules import RuleInputs
from services.enrichment.worker.store import Times
from services.enrichment.worker.turn_writer import Writer

TOPOLOGY = topology.ENRICHMENT


async def build(foundation: Foundation, settings: Settings) -> Parts:
    """Put the service together."""
    pool, relay, rates = foundation.pool, foundation.relay, settings.rates
    token_keys = foundation.token_keys
    default = _default_policy(settings)
    inputs = _rule_inputs(foundation, settings)
    breakers, hasher = inputs.breakers, inputs.hasher

    async def pace() -> None:
        await inputs.limits.wait(SourceName.SEC)

    clients = open_clients(settings, pace, pool.now)
    writer = Writer(pool, relay, inputs, _times(settings), default, pool.now)
    worker = _worker(foundation, settings, inputs, writer, clients.asks)
    hints = Hints(foundation.nats)

    async def wake() -> None:
        worker.wake()
        await hints.work()

    await breakers.refresh()
    await hints.listen(worker.wake, worker.cancel_run, _refresher(breakers))
    await hints.listen_to_callers(worker.ask_again, worker.forget_user)
    intake = Intake(pool, pool.now, default, hasher, worker, writer, wake)
    watchers = Watchers(foundation.stopping)
    await watchers.listen(foundation.nats)
    follower = BatchFollower(pool, pool.now, watchers)
    estimator = Estimator(pool.now, hasher, default)
    history = timedelta(days=settings.history_days)
    return Parts(
        service=pb.DESCRIPTOR.services_by_name["EnrichmentService"],
        rpcs=rpcs(
            availability=AvailabilityRpc(pool, pool.now, breakers, rates, default),
            batch=BatchRpc(pool, relay, pool.now, intake, follower, token_keys),
            erasure=ErasureRpc(pool, relay, pool.now, hasher, hints, foundation.nats),
            estimate=EstimateRpc(pool, breakers, estimator),
            get=GetRpc(pool),
            list=ListRpc(pool, token_keys),
            policy=PolicyRpc(pool, pool.now, default),
            replay=ReplayRpc(pool, relay, pool.now, intake, estimator),
            request=RequestRpc(pool, intake),
            steer=SteerRpc(pool, pool.now, intake, hints),
            suppression=SuppressionRpc(pool, pool.now, hasher),
            watch=WatchRpc(pool, watchers, token_keys),
        ),
        handlers=events.handlers(pool, foundation.nats, intake, hints, settings.plain_requests),
        loops=(worker.run, Keeper(pool, history, pool.now).run),
        close=clients.close,
    )


def _default_policy(settings: Settings) -> Policy:
    highest = Highest(settings.tenant_max_runs_in_hand, settings.tenant_max_weight)
    return Policy(
        ask_paid_again=settings.ask_paid_again,
        most_runs_at_once=min(settings.tenant_runs_in_hand, highest.most_runs_at_once),
        highest=highest,
    )


def _rule_inputs(foundation: Foundation, settings: Settings) -> RuleInputs:
    return RuleInputs(
        breakers=Breakers(
            foundation.pool,
            foundation.relay,
            fail_max=settings.breaker_failures,
            reset_seconds=settings.breaker_reset_seconds,
            max_park_seconds=settings.max_park_seconds,
            clock=foundation.pool.now,
        ),
        limits=Limits(foundation.pool, settings.rates),
        hasher=Hasher(settings.suppression_key.get_secret_value().encode()),
        memo_key=lambda findings: memo_key(findings, settings.claude_model),
        template=lambda findings: templated(findings, foundation.pool.now()),
    )


def _times(settings: Settings) -> Times:
    return Times(
        lease=timedelta(seconds=settings.lease_seconds),
        deadline=timedelta(seconds=settings.run_deadline_seconds),
        late=timedelta(seconds=settings.late_seconds),
    )


def _worker(
    foundation: Foundation,
    settings: Settings,
    inputs: RuleInputs,
    writer: Writer,
    sources: Mapping[SourceName, Ask],
) -> Worker:
    execute = partial(
        Execution,
        pool=foundation.pool,
        clock=foundation.pool.now,
        inputs=inputs,
        writer=writer,
        sources=sources,
        call_seconds=settings.call_timeout_seconds,
    )
    return Worker(
        foundation.pool,
        foundation.pool.now,
        inputs.breakers,
        execute,
        _times(settings),
        max_runs=settings.runs_in_hand,
        default=_default_policy(settings),
        drain_seconds=settings.drain_seconds,
    )


def _refresher(breakers: Breakers) -> Callable[[], None]:
    """Return what has the sources' state read in the background, for hints that it changed."""
    refreshing: list[asyncio.Future[None]] = []

    def refresh() -> None:
        refreshing.append(asyncio.ensure_future(breakers.refresh()))
        refreshing[:] = [each for each in refreshing if not each.done()]

    return refresh
