"""How a call is refused: raised deep, translated to a gRPC status once, by the interceptor.

Refusal                 the caller can do something about it
├── InvalidArgument     INVALID_ARGUMENT: a field breaks a rule; both are named
├── Unauthenticated     UNAUTHENTICATED: no token, or a bad one
├── PermissionDenied    PERMISSION_DENIED: a good token without the scope
├── NotFound            NOT_FOUND, also for what belongs to another tenant
├── FailedPrecondition  FAILED_PRECONDITION: something else must happen first
├── ResourceExhausted   RESOURCE_EXHAUSTED: too much at once; the metadata say how to go on
└── Unavailable         UNAVAILABLE: the same call may succeed soon

A transient error (`chassis.transient`) is answered as UNAVAILABLE. Every other exception is a bug:
logged with its trace, shown as "internal error".

A status travels in the trailers of its call. Many clients take 8 kB of those; of more they make
RESOURCE_EXHAUSTED without details. So a status is bounded: what has no room is left out, and
`omitted_violations` in the metadata says how many fields at fault are not named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import ClassVar, TypeVar

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

T = TypeVar("T")

DOMAIN = "prospect"
# Bytes of an encoded status; base64 makes 6,000 of them, beside which the message comes again.
MAX_STATUS = 4_500
MAX_MESSAGE = 1_000
MAX_METADATA = 1_200
MAX_VIOLATIONS = 100
# Of the texts of one violation; also the room that is kept for at least one.
MAX_TEXT = 600
MAX_KEPT = 1_000
OMITTED = "omitted_violations"
_OMITTED_BYTES = 40


class OperatorError(Exception):
    """What whoever runs the program can fix; a command prints its text as one line and exits 2."""


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field at fault, the rule it breaks (such as `string.uuid`), and the rule in words."""

    field: str
    rule: str
    message: str


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit that a call went beyond: its name (`expensive_calls`), whose it is, and its value.

    `subject` is `replica`, `stream`, or `tenant:<id>`.
    """

    name: str
    subject: str
    value: int


class Refusal(Exception):
    """A call refused for what the caller can act on.

    `reason` is for programs: UPPER_SNAKE, one for one condition over all services, in the table of
    docs/errors.md. `metadata` holds the values that go with it. `retry_seconds` is how long to wait
    before the same call may succeed; None where it will not by waiting.
    """

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN
    limit: Limit | None = None
    retry_seconds: float | None = None

    def __init__(
        self,
        message: str,
        *,
        reason: str,
        violations: Sequence[FieldViolation] = (),
        metadata: Mapping[str, str] | None = None,
        retry_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.violations = tuple(violations)
        self.metadata = dict(metadata or {})
        if retry_seconds is not None:
            self.retry_seconds = retry_seconds

    def status(self) -> status_pb2.Status:
        """Return the status with its `google.rpc` details (aip.dev/193) that have room."""
        status = status_pb2.Status(code=self.code.value[0], message=_cut(self.message, MAX_MESSAGE))
        info = error_details_pb2.ErrorInfo(reason=self.reason, domain=DOMAIN)
        info.metadata.update(_metadata_that_fits(self.metadata))
        status.details.add().Pack(info)
        if self.retry_seconds is not None:
            status.details.add().Pack(_retry_info(self.retry_seconds))
        if self.limit:
            status.details.add().Pack(_quota_failure(self.limit, status.message))
        if self.violations:
            bad = _bad_request(self.violations, MAX_STATUS - status.ByteSize() - _OMITTED_BYTES)
            omitted = len(self.violations) - len(bad.field_violations)
            if omitted:
                info.metadata[OMITTED] = str(omitted)
                status.details[0].Pack(info)
            status.details.add().Pack(bad)
        return status


class InvalidArgument(Refusal):
    """The request breaks a rule."""

    code = grpc.StatusCode.INVALID_ARGUMENT

    @classmethod
    def of(cls, violations: Sequence[FieldViolation]) -> InvalidArgument:
        """Name every violation in the details and the first few in the message."""
        first = "; ".join(f"{each.field}: {each.message}" for each in violations[:3])
        more = f" (and {len(violations) - 3} more)" if len(violations) > 3 else ""
        return cls(first + more, reason="INVALID_ARGUMENT", violations=violations)

    @classmethod
    def field(cls, field: str, rule: str, message: str) -> InvalidArgument:
        """Refuse for one field."""
        return cls.of([FieldViolation(field, rule, message)])


class Unauthenticated(Refusal):
    """There is no valid token."""

    code = grpc.StatusCode.UNAUTHENTICATED


class PermissionDenied(Refusal):
    """The token does not allow this."""

    code = grpc.StatusCode.PERMISSION_DENIED


class NotFound(Refusal):
    """The tenant has no such thing."""

    code = grpc.StatusCode.NOT_FOUND


class FailedPrecondition(Refusal):
    """The call cannot be served in the present state; something else must happen first."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class ResourceExhausted(Refusal):
    """The caller asks for more than one caller may have at a time."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED

    @classmethod
    def beyond(
        cls,
        limit: Limit,
        message: str,
        *,
        reason: str,
        metadata: Mapping[str, str] | None = None,
        retry_seconds: float | None = None,
    ) -> ResourceExhausted:
        """Refuse for a limit, which stands in the metadata and in `QuotaFailure`."""
        told = {"limit": limit.name, "limit_of": limit.subject, "limit_value": str(limit.value)}
        told |= metadata or {}
        refusal = cls(message, reason=reason, metadata=told, retry_seconds=retry_seconds)
        refusal.limit = limit
        return refusal

    def status(self) -> status_pb2.Status:
        """Return the status, kept from the last time: too much load must not make more."""
        values = tuple(self.metadata.items())
        told = self.message, self.reason, self.retry_seconds, self.limit, self.violations, values
        if told not in _kept_statuses:
            if len(_kept_statuses) >= MAX_KEPT:
                _kept_statuses.clear()
            _kept_statuses[told] = super().status()
        return _kept_statuses[told]


_kept_statuses: dict[tuple[object, ...], status_pb2.Status] = {}


class Unavailable(Refusal):
    """The service cannot answer now; the same call may succeed soon."""

    code = grpc.StatusCode.UNAVAILABLE
    retry_seconds = 1.0


def internal_status() -> status_pb2.Status:
    """Return what a caller sees of a bug: that there is one, and nothing of it."""
    return status_pb2.Status(code=grpc.StatusCode.INTERNAL.value[0], message="internal error")


def _bad_request(violations: Sequence[FieldViolation], room: int) -> error_details_pb2.BadRequest:
    """Return the first violations, as many as fit into `room` bytes."""
    bad = error_details_pb2.BadRequest()
    # What BadRequest and each violation is wrapped in: a tag and a length, and the type's name.
    room -= 64
    for each in violations[:MAX_VIOLATIONS]:
        named = error_details_pb2.BadRequest.FieldViolation(
            field=_cut(each.field, MAX_TEXT),
            description=_cut(each.message, MAX_TEXT),
            reason=each.rule,
        )
        room -= named.ByteSize() + 4
        if room < 0:
            break
        bad.field_violations.append(named)
    return bad


def _metadata_that_fits(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the metadata for which there is room; a value is whole, or it is left out."""
    fitting, room = {}, MAX_METADATA
    for name, value in metadata.items():
        size = len(name) + len(value.encode(errors="replace")) + 8
        if size <= room:
            fitting[name] = value
            room -= size
    return fitting


def _retry_info(seconds: float) -> error_details_pb2.RetryInfo:
    delay = Duration()
    delay.FromMilliseconds(max(round(seconds * 1000), 1))
    return error_details_pb2.RetryInfo(retry_delay=delay)


def _quota_failure(limit: Limit, message: str) -> error_details_pb2.QuotaFailure:
    return error_details_pb2.QuotaFailure(
        violations=[
            error_details_pb2.QuotaFailure.Violation(
                subject=limit.subject,
                description=_cut(message, MAX_TEXT),
                quota_id=limit.name,
                quota_value=limit.value,
            )
        ]
    )


def _cut(text: str, room: int) -> str:
    """Return as much of a text as has room, in which gRPC writes a byte beyond ASCII as three."""
    whole, text = len(text), text[:room].encode(errors="replace").decode()
    costs = (1 if " " <= each <= "~" and each != "%" else 3 * len(each.encode()) for each in text)
    fitting = sum(total <= room for total in accumulate(costs))
    return text if fitting == whole else f"{text[: max(fitting - 9, 0)]}…"


def found(row: T | None, kind: str, key: object) -> T:
    """Return the row; raise NotFound where there is none that the tenant may see."""
    if row is None:
        raise NotFound(f"there is no {kind} {key}", reason=f"{kind.upper()}_NOT_FOUND")
    return row
