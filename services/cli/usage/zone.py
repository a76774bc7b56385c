"""`prospect usage zone`: where the tenant's days begin."""

from __future__ import annotations

from typing import Annotated

import typer
from prospect.metrics.v1 import metrics_service_pb2 as pb
from prospect.metrics.v1 import metrics_service_pb2_grpc as rpc

from services.cli.terminal.client import (
    METRICS_ADDRESS,
    TOKEN_FILE,
    AsJson,
    CaFile,
    MetricsAddress,
    TokenFile,
    calling,
)
from services.cli.terminal.message_json import print_json
from services.cli.terminal.tables import shown


def zone(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[IANA_NAME]", help="The zone to be, such as Asia/Kathmandu."),
    ] = None,
    as_json: AsJson = False,
    address: MetricsAddress = METRICS_ADDRESS,
    token_file: TokenFile = TOKEN_FILE,
    ca_file: CaFile = None,
) -> None:
    """Show the time zone in which your tenant's days begin, or set it. Setting needs metrics:admin.

    All days and quotas are counted anew with it, in one transaction.

    Examples:

      prospect usage zone

      prospect usage zone Europe/Berlin
    """
    with calling(address, token_file, ca_file) as call:
        stub = rpc.MetricsServiceStub(call.channel)
        if name is None:
            answer = stub.GetSettings(pb.GetSettingsRequest(), metadata=call.metadata)
            settings = answer.settings
        else:
            change = pb.SetTimeZoneRequest(time_zone=name)
            settings = stub.SetTimeZone(change, metadata=call.metadata).settings
    if as_json:
        print_json(settings)
    else:
        typer.echo(f"days begin at midnight of {shown(settings.time_zone)}")
