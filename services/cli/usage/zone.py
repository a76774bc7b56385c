"""`prospect usage zone`: the time zone in which the tenant's days begin."""

from __future__ import annotations

from typing import Annotated

import typer
from prospect.metrics.v1 import metrics_service_pb2 as pb
from prospect.metrics.v1.metrics_service_pb2_grpc import MetricsServiceStub

from services.cli.terminal.client import Client
from services.cli.terminal.message_json import print_json
from services.cli.terminal.screen import shown
from services.cli.terminal.shared_options import METRICS, calls


@calls(METRICS)
def zone(
    client: Client,
    name: Annotated[
        str | None,
        typer.Argument(metavar="[IANA_NAME]", help="The new time zone, such as Asia/Kathmandu."),
    ] = None,
) -> None:
    """Show the time zone in which your tenant's days begin, or set it. Setting needs metrics:admin.

    Setting it counts all days and quotas anew, in one transaction.

    Examples:

      prospect usage zone

      prospect usage zone Europe/Berlin
    """
    with client.calling(MetricsServiceStub) as stub:
        if name is None:
            answer = stub.GetSettings(pb.GetSettingsRequest())
            settings = answer.settings
        else:
            change = pb.SetTimeZoneRequest(time_zone=name)
            settings = stub.SetTimeZone(change).settings
    if client.as_json:
        print_json(settings)
    else:
        typer.echo(f"days begin at midnight of {shown(settings.time_zone)}")
