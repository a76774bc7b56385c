"""Calling a service from the command: where it is, who calls, and its errors as one clear line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import grpc
import typer
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from chassis.settings import SettingsError

TOKEN_VARIABLE = "PROSPECT_TOKEN_FILE"  # noqa: S105 -- a name
ENRICHMENT_VARIABLE = "PROSPECT_ENRICHMENT_ADDRESS"
METRICS_VARIABLE = "PROSPECT_METRICS_ADDRESS"
VARIABLES = {
    TOKEN_VARIABLE: "file with the bearer token that the commands call with",
    ENRICHMENT_VARIABLE: "host:port at which `prospect enrich` finds the enrichment service",
    METRICS_VARIABLE: "host:port at which `prospect usage` finds the metrics service",
}
NOT_FOUND_EXIT, REFUSED_EXIT = 1, 2

Address = Annotated[
    str,
    typer.Option(envvar="PROSPECT_ACTIVITY_ADDRESS", help="host:port of the activity service."),
]
EnrichmentAddress = Annotated[
    str,
    typer.Option(
        "--address", envvar=ENRICHMENT_VARIABLE, help="host:port of the enrichment service."
    ),
]
MetricsAddress = Annotated[
    str,
    typer.Option("--address", envvar=METRICS_VARIABLE, help="host:port of the metrics service."),
]
TokenFile = Annotated[
    Path, typer.Option(envvar=TOKEN_VARIABLE, help="File with the bearer token to call with.")
]
CaFile = Annotated[
    Path | None, typer.Option(help="PEM file of the authority that signed the service's TLS key.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, an object a line.")]
ADDRESS = "127.0.0.1:8401"
ENRICHMENT_ADDRESS = "127.0.0.1:8402"
METRICS_ADDRESS = "127.0.0.1:8403"
TOKEN_FILE = Path(".state/dev/token")
AUDIT_TOKEN_FILE = Path(".state/dev/activity-audit-token")


@dataclass(frozen=True, slots=True)
class Call:
    """An open channel and the metadata that each call needs."""

    channel: grpc.Channel
    metadata: tuple[tuple[str, str], ...]


@contextmanager
def calling(
    address: str, token_file: Path, ca_file: Path | None, *, not_found: int = NOT_FOUND_EXIT
) -> Iterator[Call]:
    """Open a channel; a refused call ends the command with one line and its exit code."""
    metadata = (("authorization", f"Bearer {_token(token_file)}"),)
    try:
        with _channel(address, ca_file) as channel:
            yield Call(channel, metadata)
    except grpc.RpcError as error:
        if not isinstance(error, grpc.Call):
            raise
        code = error.code()
        typer.secho(f"prospect: {_sentence(error, address)}", fg="red", err=True)
        found = code is not grpc.StatusCode.NOT_FOUND
        raise typer.Exit(REFUSED_EXIT if found else not_found) from None


def _token(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        raise SettingsError(
            f"no token can be read from {path} ({error.strerror}): start `prospect dev`, which"
            f" writes one, or name a file with --token-file or {TOKEN_VARIABLE}"
        ) from None


def _channel(address: str, ca_file: Path | None) -> grpc.Channel:
    if ca_file is None:
        return grpc.insecure_channel(address)
    try:
        credentials = grpc.ssl_channel_credentials(ca_file.read_bytes())
    except OSError as error:
        raise SettingsError(f"--ca-file {ca_file}: {error.strerror}") from None
    return grpc.secure_channel(address, credentials)


def _sentence(error: grpc.Call, address: str) -> str:
    """Say what was refused: each field with its rule, and how to go on where that is known."""
    code, text = error.code().name.lower().replace("_", " "), error.details() or ""
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        text = f"{text} ({address})"
    bad, info = error_details_pb2.BadRequest(), error_details_pb2.ErrorInfo()
    _unpack(error, bad, info)
    if bad.field_violations:
        text = "; ".join(
            f"{each.field}: {each.description} ({each.reason})" for each in bad.field_violations
        )
    hints = "".join(f"; {name}: {value}" for name, value in info.metadata.items())
    return f"{code}: {text}{hints}"


def violations(error: grpc.Call) -> list[error_details_pb2.BadRequest.FieldViolation]:
    """Return the fields that a refused call names, with their rules."""
    bad = error_details_pb2.BadRequest()
    _unpack(error, bad)
    return list(bad.field_violations)


def _unpack(error: grpc.Call, *messages: Message) -> None:
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        for message in messages:
            if detail.Is(message.DESCRIPTOR):
                detail.Unpack(message)
