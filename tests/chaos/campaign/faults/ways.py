"""The links between a replica and its servers are silent, slow, refused or cut."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from tests.chaos.campaign.cluster import Cluster
from tests.chaos.campaign.faults.replicas import any_replica
from tests.chaos.campaign.faults.table import fault
from tests.chaos.campaign.links import Link, Mode


@fault((3, 15))
async def the_way_to_postgres_is_silent(
    cluster: Cluster, dice: random.Random
) -> AsyncIterator[None]:
    async with _broken([any_replica(cluster, dice).postgres], Mode.SILENT, dice):
        yield


@fault((2, 8))
async def the_way_to_postgres_is_slow(cluster: Cluster, dice: random.Random) -> AsyncIterator[None]:
    async with _broken([any_replica(cluster, dice).postgres], Mode.SLOW, dice):
        yield


@fault((2, 8))
async def postgres_cannot_be_dialled(cluster: Cluster, dice: random.Random) -> AsyncIterator[None]:
    async with _broken([any_replica(cluster, dice).postgres], Mode.REFUSE, dice):
        yield


@fault()
async def connections_to_postgres_are_reset(
    cluster: Cluster, dice: random.Random
) -> AsyncIterator[None]:
    for replica in cluster.replicas.values():
        replica.postgres.reset()
    yield


@fault((3, 15))
async def the_ways_to_brokers_are_silent(
    cluster: Cluster, dice: random.Random
) -> AsyncIterator[None]:
    async with _broken(any_replica(cluster, dice).brokers, Mode.SILENT, dice):
        yield


@fault((2, 8))
async def no_broker_can_be_dialled(cluster: Cluster, dice: random.Random) -> AsyncIterator[None]:
    links = [link for each in cluster.replicas.values() for link in each.brokers]
    async with _broken(links, Mode.REFUSE, dice):
        yield


@fault()
async def connections_to_brokers_are_reset(
    cluster: Cluster, dice: random.Random
) -> AsyncIterator[None]:
    for link in any_replica(cluster, dice).brokers:
        link.reset()
    yield


@asynccontextmanager
async def _broken(links: Sequence[Link], mode: Mode, dice: random.Random) -> AsyncIterator[None]:
    """Break links, then have them pass again, with their connections or after a reset."""
    for link in links:
        await link.become(mode)
    cut = dice.random() < 0.5
    yield
    for link in links:
        if cut:
            link.reset()
        await link.become(Mode.PASS)
