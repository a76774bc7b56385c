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
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

T = TypeVar("T")

DOMAIN = "prospect"


class OperatorError(Exception):
    """What whoever runs the program can fix; a command prints its text as one line and exits 2."""


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field at fault, the rule it breaks (such as `string.uuid`), and the rule in words."""

    field: str
    rule: str
    message: str


class Refusal(Exception):
    """A call refused for what the caller can act on.

    `reason` is for programs: UPPER_SNAKE, one for one condition over all services, in the table of
    docs/errors.md. `metadata` holds the values that go with it.
    """

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN

    def __init__(
        self,
        message: str,
        *,
        reason: str,
        violations: Sequence[FieldViolation] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.violations = tuple(violations)
        self.metadata = dict(metadata or {})

    def status(self) -> status_pb2.Status:
        """Return the status with its `google.rpc` details (aip.dev/193)."""
        info = error_details_pb2.ErrorInfo(
            reason=self.reason, domain=DOMAIN, metadata=self.metadata
        )
        details = [_packed(info)]
        if self.violations:
            details.append(_packed(_bad_request(self.violations)))
        return status_pb2.Status(code=self.code.value[0], message=self.message, details=details)


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


class Unavailable(Refusal):
    """The service cannot answer now; the same call may succeed soon."""

    code = grpc.StatusCode.UNAVAILABLE


def internal_status() -> status_pb2.Status:
    """Return what a caller sees of a bug: that there is one, and nothing of it."""
    return status_pb2.Status(code=grpc.StatusCode.INTERNAL.value[0], message="internal error")


def _bad_request(violations: Sequence[FieldViolation]) -> error_details_pb2.BadRequest:
    return error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(
                field=each.field, description=each.message, reason=each.rule
            )
            for each in violations[:100]
        ]
    )


def _packed(message: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def found(row: T | None, kind: str, key: object) -> T:
    """Return the row; raise NotFound where there is none that the tenant may see."""
    if row is None:
        raise NotFound(f"there is no {kind} {key}", reason=f"{kind.upper()}_NOT_FOUND")
    return row
