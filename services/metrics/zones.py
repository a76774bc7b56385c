"""The tenant's time zone: where its days begin."""

from __future__ import annotations

from zoneinfo import available_timezones

from prospect.metrics.v1 import metrics_service_pb2 as pb

from chassis.auth import current_caller
from chassis.database import tenant_transaction
from chassis.errors import InvalidArgument
from chassis.server import Context
from services.metrics import store
from services.metrics.store import FIRST_DAY, LAST_DAY, SQL
from services.metrics.tools import Tools


class Zones:
    """The settings of the tenant in the token."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    async def SetTimeZone(
        self, request: pb.SetTimeZoneRequest, context: Context
    ) -> pb.SetTimeZoneResponse:
        """Change the zone and count all days anew from their quarters, in one transaction."""
        tenant_id, zone = current_caller().tenant_id, request.time_zone
        if zone not in available_timezones():
            text = "must be a zone of the IANA database, such as Europe/Berlin"
            raise InvalidArgument.field("time_zone", "time_zone.unknown", text)
        async with tenant_transaction(self._tools.pool, tenant_id) as connection:
            await store.lock_exclusive(connection, tenant_id)
            await connection.execute(SQL.set_time_zone, tenant_id, zone)
            await connection.execute(SQL.drop_quota_usage, tenant_id)
            await store.recount_days(connection, tenant_id, FIRST_DAY, LAST_DAY)
            # Moving midnight is no work done: what is reached by it is not told of again.
            await connection.fetch(SQL.reach, tenant_id)
        return pb.SetTimeZoneResponse(settings=pb.MetricsSettings(time_zone=zone))

    async def GetSettings(
        self, request: pb.GetSettingsRequest, context: Context
    ) -> pb.GetSettingsResponse:
        """Give the settings."""
        tenant_id = current_caller().tenant_id
        async with tenant_transaction(self._tools.pool, tenant_id) as connection:
            zone = await store.time_zone(connection, tenant_id)
        return pb.GetSettingsResponse(settings=pb.MetricsSettings(time_zone=zone))
