"""Options that several `prospect usage` commands have, and the days that they name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer
from prospect.metrics.v1 import metrics_service_pb2 as pb
from prospect.metrics.v1.metrics_service_pb2_grpc import MetricsServiceStub

from chassis.clock import utc_now
from chassis.settings import SettingsError
from services.cli.terminal.message_json import enum_names

COUNTERS = enum_names(pb.Counter.DESCRIPTOR)
DAY = timedelta(days=1)
DEFAULT_DAYS = 30
DAY_HELP = "2026-11-24, today, yesterday, or 30d for so many days ago"
_AGO = re.compile(r"^(\d+)d$")
_ISO = re.compile(r"^\d{4}-\d{2}-\d{2}$")
_NAMED = {"today": timedelta(), "yesterday": DAY}

From = Annotated[
    str | None,
    typer.Option(
        "--from", help=f"First day: {DAY_HELP}; by default {DEFAULT_DAYS} days up to the last."
    ),
]
To = Annotated[
    str, typer.Option("--to", help=f"Last day, included: {DAY_HELP}.", show_default=True)
]
CounterName = Annotated[str, typer.Option("--counter", help=f"One of {', '.join(COUNTERS)}.")]
TODAY = "today"
TOTAL = "total_activities"


@dataclass(frozen=True, slots=True)
class Days:
    """A range of days as the options name it; a day may be relative to today."""

    first: date | timedelta | None
    last: date | timedelta

    def need_today(self) -> bool:
        """Return whether a day is relative to today."""
        return isinstance(self.first, timedelta) or isinstance(self.last, timedelta)

    def fixed(self, today: date) -> tuple[str, str]:
        """Return the first and the last day as dates, once today is known."""
        last = _fix(self.last, today)
        if self.first is None:
            first = _fix((DEFAULT_DAYS - 1) * DAY, last)
        else:
            first = _fix(self.first, today)
        if last < first:
            raise typer.BadParameter(f"--to {last}: must not be before --from {first}")
        return first.isoformat(), last.isoformat()


def parse_days(start: str | None, end: str) -> Days:
    """Parse the days of --from and --to."""
    return Days(_parse("--from", start) if start else None, _parse("--to", end))


def tenant_days(stub: MetricsServiceStub, days: Days) -> tuple[str, str]:
    """Return the dates in the tenant's time zone, which the service knows."""
    return days.fixed(_today(stub) if days.need_today() else date.min)


def utc_days(days: Days) -> tuple[str, str]:
    """Return the dates in UTC, in which the roll-up is verified."""
    return days.fixed(utc_now().date())


def parse_counter(name: str) -> pb.Counter.ValueType:
    """Parse the name of a counter."""
    if name not in COUNTERS:
        raise typer.BadParameter(f"counter {name}: must be one of {', '.join(COUNTERS)}")
    return pb.Counter.ValueType(COUNTERS[name])


def zone_named(name: str) -> ZoneInfo:
    """Return a time zone, or say what to install where this machine does not know it."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise SettingsError(
            f"this machine does not know the tenant's time zone {name}: install tzdata"
        ) from None


def _today(stub: MetricsServiceStub) -> date:
    settings = stub.GetSettings(pb.GetSettingsRequest()).settings
    return utc_now().astimezone(zone_named(settings.time_zone)).date()


def _parse(option: str, text: str) -> date | timedelta:
    ago = _AGO.match(text)
    try:
        if ago:
            return timedelta(days=int(ago[1]))
        if _ISO.match(text):
            return date.fromisoformat(text)
        return _NAMED[text]
    except (KeyError, ValueError, OverflowError):
        raise typer.BadParameter(f"{option} {text}: must be {DAY_HELP}") from None


def _fix(day: date | timedelta, today: date) -> date:
    try:
        return today - day if isinstance(day, timedelta) else day
    except OverflowError:
        raise typer.BadParameter(f"there is no day so long before {today}") from None
