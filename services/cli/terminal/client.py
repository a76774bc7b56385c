"""Calls from a command to its service: channel, token, and a refusal as one clear line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import grpc
import typer
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from chassis.errors import OMITTED
from chassis.identity.certificates import PemFiles
from chassis.identity.channel import channel_credentials
from chassis.settings import SettingsError
from services.cli.terminal.screen import shown

TOKEN_VARIABLE = "PROSPECT_TOKEN_FILE"  # noqa: S105 -- a name
NOT_FOUND_EXIT, REFUSED_EXIT = 1, 2
Stub = TypeVar("Stub")
_TOKEN = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class Client:
    """How a command reaches its service, as whom, and whether it prints JSON."""

    address: str
    token_file: Path
    ca_file: Path | None
    as_json: bool
    certificate_file: Path | None = None
    key_file: Path | None = None

    @contextmanager
    def calling(
        self, stub: Callable[[grpc.Channel], Stub], *, not_found: int = NOT_FOUND_EXIT
    ) -> Iterator[Stub]:
        """Connect a stub; a refused call prints one line and ends the command with an exit code."""
        bearer = _Bearer(_token(self.token_file))
        try:
            with _channel(self.address, self._tls()) as channel:
                yield stub(grpc.intercept_channel(channel, bearer))
        except grpc.RpcError as error:
            if not isinstance(error, grpc.Call):
                raise
            said = shown(f"prospect: {_sentence(error, self.address)}")
            typer.secho(said, fg="red", err=True)
            is_missing = error.code() is grpc.StatusCode.NOT_FOUND
            raise typer.Exit(not_found if is_missing else REFUSED_EXIT) from None

    def _tls(self) -> grpc.ChannelCredentials | None:
        if (self.certificate_file is None) != (self.key_file is None):
            raise SettingsError("--certificate-file and --key-file come together")
        files = PemFiles("command", self.certificate_file, self.key_file, self.ca_file)
        try:
            return channel_credentials(files)
        except (OSError, ValueError, TypeError) as error:
            named = ", ".join(map(str, files.given))
            why = error.strerror if isinstance(error, OSError) else error
            raise SettingsError(f"no TLS with {named}: {why}") from None


class _Bearer(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Sends the token with every call."""

    def __init__(self, token: str) -> None:
        self._metadata = (("authorization", f"Bearer {token}"),)

    def _intercept(self, call: Callable[..., Any], details: Any, request: Any) -> Any:
        return call(details._replace(metadata=self._metadata), request)

    intercept_unary_unary: Any = _intercept
    intercept_unary_stream: Any = _intercept
    intercept_stream_stream: Any = _intercept


def _token(path: Path) -> str:
    try:
        token = path.read_text(encoding="ascii", errors="replace").strip()
    except OSError as error:
        raise SettingsError(
            f"no token can be read from {path} ({error.strerror}): start `prospect dev`, which"
            f" writes one, or name a file with --token-file or {TOKEN_VARIABLE}"
        ) from None
    if not _TOKEN.fullmatch(token):
        raise SettingsError(f"{path} holds no bearer token: it must be a JWT on one line")
    return token


def _channel(address: str, credentials: grpc.ChannelCredentials | None) -> grpc.Channel:
    if credentials is None:
        return grpc.insecure_channel(address)
    return grpc.secure_channel(address, credentials)


def _sentence(error: grpc.Call, address: str) -> str:
    """Return a refusal as one line: each field with its rule, and what the service says of it."""
    code, text = error.code().name.lower().replace("_", " "), error.details() or ""
    bad, info = error_details_pb2.BadRequest(), error_details_pb2.ErrorInfo()
    _unpack(error, bad, info)
    if error.code() is grpc.StatusCode.UNAVAILABLE and not info.reason:
        text = f"{text} ({address}): is the service running, and --address right?"
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


def omitted(error: grpc.Call) -> int:
    """Return how many more fields a refused call found at fault, for which it had no room."""
    info = error_details_pb2.ErrorInfo()
    _unpack(error, info)
    return int(info.metadata.get(OMITTED, "0"))


def _unpack(error: grpc.Call, *messages: Message) -> None:
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        for message in messages:
            if detail.Is(message.DESCRIPTOR):
                detail.Unpack(message)
