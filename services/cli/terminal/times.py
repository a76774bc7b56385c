"""Times and spans of time as people write them on the command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import typer
from google.protobuf.timestamp_pb2 import Timestamp

from chassis.clock import to_timestamp, utc_now

_SPAN = re.compile(r"^(\d+)([smhd])$")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_MOMENT = "2026-11-24, 2026-11-24T10:30 (UTC)"
TIME_HELP = f"{_MOMENT}, or 90m, 12h, 7d ago"
UNTIL_HELP = f"{_MOMENT}, or 90m, 12h, 7d from now"
SPAN_HELP = "30s, 90m, 12h or 7d"


def parse_time(option: str, text: str) -> Timestamp | None:
    """Parse a date, a time (UTC where it names no zone), or a span before now."""
    return _parse(option, text, -1, TIME_HELP)


def parse_until(option: str, text: str) -> Timestamp | None:
    """Parse a date, a time (UTC where it names no zone), or a span from now."""
    return _parse(option, text, 1, UNTIL_HELP)


def parse_span(option: str, text: str) -> timedelta:
    """Parse a span of time, such as 90m."""
    span = _span(text)
    if span is None:
        raise typer.BadParameter(f"{option} {text}: must be {SPAN_HELP}")
    return span


def _parse(option: str, text: str, sign: int, help_text: str) -> Timestamp | None:
    try:
        span = _span(text)
        if span is not None:
            return to_timestamp(utc_now() + sign * span)
        moment = datetime.fromisoformat(text)
        return to_timestamp(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"{option} {text}: must be {help_text}") from None


def _span(text: str) -> timedelta | None:
    match = _SPAN.match(text)
    try:
        return timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else None
    except OverflowError:
        return None
