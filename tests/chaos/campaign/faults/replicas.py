"""A replica dies, stops, stands still or has another time."""

from __future__ import annotations

import random
import signal
from collections.abc import AsyncIterator
from contextlib import suppress

from tests.chaos.campaign.cluster import Cluster, Replica
from tests.chaos.campaign.faults.table import fault
from tests.clock import SHIFT, found_by_subprocesses

CLOCK_SECONDS = (-300.0, 300.0)


def any_replica(cluster: Cluster, dice: random.Random) -> Replica:
    """Draw one."""
    return dice.choice(list(cluster.replicas.values()))


@fault()
async def a_replica_is_killed(cluster: Cluster, dice: random.Random) -> AsyncIterator[None]:
    _send(any_replica(cluster, dice), signal.SIGKILL)
    yield


@fault()
async def a_replica_is_stopped(cluster: Cluster, dice: random.Random) -> AsyncIterator[None]:
    _send(any_replica(cluster, dice), signal.SIGTERM)
    yield


@fault((2, 15))
async def a_replica_is_frozen(cluster: Cluster, dice: random.Random) -> AsyncIterator[None]:
    replica = any_replica(cluster, dice)
    _send(replica, signal.SIGSTOP)
    yield
    _send(replica, signal.SIGCONT)


@fault((0, 1))
async def replicas_are_restarted_in_turn(
    cluster: Cluster, dice: random.Random
) -> AsyncIterator[None]:
    for replica in list(cluster.replicas.values()):
        before = replica.running
        _send(replica, signal.SIGTERM)
        await cluster.started_again(replica, before)
    yield


@fault((5, 15))
async def a_replica_has_another_time(cluster: Cluster, dice: random.Random) -> AsyncIterator[None]:
    replica = any_replica(cluster, dice)
    given = dict(replica.environment)
    replica.environment |= {
        SHIFT: str(dice.choice(CLOCK_SECONDS)),
        "PYTHONPATH": ":".join(found_by_subprocesses()),
    }
    _send(replica, signal.SIGKILL)
    yield
    replica.environment = given
    _send(replica, signal.SIGKILL)


def _send(replica: Replica, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        replica.running.send_signal(number)
