"""The tenant's time zone: where its days begin."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from uuid import UUID
from zoneinfo import available_timezones

from prospect.metrics.v1 import metrics_service_pb2 as pb

from chassis.auth import current_caller
from chassis.clock import new_id
from chassis.database import Connection, Pool, tenant_transaction
from chassis.errors import InvalidArgument
from chassis.interceptor import Context
from services.metrics import store
from services.metrics.sql import SQL
from services.metrics.store import EARLIEST_DAY, LATEST_DAY, Digest
from services.metrics.usage.calendar import DAY

NOT_PLACES = {"Factory", "localtime", "posixrules"}
"""What zone databases hold beside places: the machine's own zone, and that of one never set."""
RECOUNT_SECONDS = 1_800
"""Time for a statement over all of a tenant's history; a pool's statements have a minute."""


class TimeZoneRpc:
    """The settings of the caller's tenant."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def SetTimeZone(
        self, request: pb.SetTimeZoneRequest, context: Context
    ) -> pb.SetTimeZoneResponse:
        """Change the zone and count all days anew from their quarters, in one transaction.

        Counting goes on meanwhile: it stands still only for the swap, and for the days that it
        has changed since, which their digests tell.
        """
        tenant_id, zone = current_caller().tenant_id, request.time_zone
        await _check(self._pool, zone)
        async with store.rework(self._pool, tenant_id) as connection:
            await store.lock_rework(connection, tenant_id)
            shadow, before = new_id(), await _digests(connection, tenant_id)
            await _count(connection, tenant_id, shadow, (EARLIEST_DAY, LATEST_DAY), zone)
            await store.lock_exclusive(connection, tenant_id)
            for span in _changed(before, await _digests(connection, tenant_id)):
                await connection.execute(SQL.clear_shadow_days, tenant_id, shadow, *span)
                await _count(connection, tenant_id, shadow, span, zone)
            await _swap(connection, tenant_id, shadow, zone)
        return pb.SetTimeZoneResponse(settings=pb.MetricsSettings(time_zone=zone))

    async def GetSettings(
        self, request: pb.GetSettingsRequest, context: Context
    ) -> pb.GetSettingsResponse:
        """Give the settings."""
        tenant_id = current_caller().tenant_id
        async with tenant_transaction(self._pool, tenant_id) as connection:
            zone = await store.time_zone(connection, tenant_id)
        return pb.GetSettingsResponse(settings=pb.MetricsSettings(time_zone=zone))


async def _check(pool: Pool, zone: str) -> None:
    """Refuse what is no place of the zone database, or of another version than PostgreSQL's."""
    known = zone in available_timezones() - NOT_PLACES
    if not (known and await pool.fetchval(SQL.knows_zone, zone)):
        text = "must be a zone of the IANA database, such as Europe/Berlin"
        raise InvalidArgument.field("time_zone", "time_zone.unknown", text)


async def _digests(connection: Connection, tenant_id: UUID) -> dict[date, Digest]:
    return await store.digests_of(connection, tenant_id, EARLIEST_DAY, LATEST_DAY)


def _changed(before: dict[date, Digest], after: dict[date, Digest]) -> Iterator[tuple[date, date]]:
    """Yield the local days that a changed UTC day may be part of: at most a day before or after."""
    for day in before.keys() | after.keys():
        if before.get(day) != after.get(day):
            yield day - DAY, day + DAY


async def _count(
    connection: Connection, tenant_id: UUID, shadow: UUID, span: tuple[date, date], zone: str
) -> None:
    await connection.execute(
        SQL.write_shadow_days, tenant_id, shadow, *span, zone, timeout=RECOUNT_SECONDS
    )


async def _swap(connection: Connection, tenant_id: UUID, shadow: UUID, zone: str) -> None:
    """Make a shadow of days the roll-up; only the days that differ are written."""
    await connection.execute(SQL.set_time_zone, tenant_id, zone)
    await connection.execute(SQL.drop_quota_usage, tenant_id)
    await connection.execute(SQL.plan_swap)
    for statement in (SQL.clear_other_days, SQL.swap_in_days, SQL.drop_shadow):
        await connection.execute(statement, tenant_id, shadow, timeout=RECOUNT_SECONDS)
    await store.recount_sums(connection, tenant_id, EARLIEST_DAY, LATEST_DAY)
    # Moving midnight is no new use: limits reached by it are marked, and not announced.
    await connection.fetch(SQL.mark_reached, tenant_id)
