"""Logs as JSON lines on stderr, and the trace id that ties them together (W3C trace context)."""

from __future__ import annotations

import asyncio
import atexit
import json
import logging
import random
import re
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, TextIO

import prometheus_client
import structlog
from structlog.typing import EventDict, ExcInfo

from chassis.settings import SettingsError

_TRACEPARENT = re.compile(r"^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}$")
FLUSH_SECONDS = 0.1
TASKS = prometheus_client.Gauge("prospect_tasks", "asyncio tasks that are alive")
_current: ContextVar[str] = ContextVar("traceparent", default="")
_log = structlog.get_logger()


def configure_logging(service: str, level: str = "info") -> None:
    """Write one JSON object a line; `service` and the trace stand in each."""

    encode = json.JSONEncoder(default=repr).encode  # made once: json.dumps makes one a line

    def add_origin(logger: object, name: str, event: EventDict) -> EventDict:
        event["service"] = service
        if current := _current.get():
            event["trace_id"] = current[3:35]
        return event

    structlog.configure(
        processors=[
            add_origin,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.ExceptionRenderer(_stack_of),
            structlog.processors.JSONRenderer(lambda event, **_: encode(event)),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: _lines,
        cache_logger_on_first_use=True,
    )
    _lines.service, _lines.informing = service, level in ("debug", "info")
    sys.excepthook = _log_end
    logging.basicConfig(level=logging.WARNING, handlers=[_Libraries()])
    warnings.showwarning = _log_warning
    for chatty in ("nats", "httpx", "pybreaker"):
        logging.getLogger(chatty).setLevel(logging.CRITICAL)


def _stack_of(exc_info: ExcInfo) -> str:
    """Return what was raised and where, without its text, which may quote what a user typed."""
    told: list[str] = []
    error: BaseException | None = exc_info[1]
    while error is not None:
        told.append("".join(traceback.format_tb(error.__traceback__)) + _named(error))
        if isinstance(error, BaseExceptionGroup):
            told += [_stack_of((type(each), each, None)) for each in error.exceptions]
        error = error.__cause__ or error.__context__
    return "\nfrom\n".join(told)


def _named(error: BaseException) -> str:
    """Return the type of an exception, and of one of Postgres's what it says beside its text."""
    names = ("sqlstate", "constraint_name", "table_name", "column_name")
    known = [f"{each}={value}" for each in names if (value := getattr(error, each, None))]
    return " ".join([type(error).__qualname__, *known])


def log_uncaught(loop: asyncio.AbstractEventLoop) -> None:
    """Log what is raised where nobody catches it, which Python would print with its text."""

    def in_loop(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        raised = context.get("exception")
        # Of something raised the message may quote the arguments of the callback.
        text = "uncaught" if raised else context.get("message", "uncaught")
        _log.error(text, place="event loop", exc_info=raised)

    def in_thread(raised: threading.ExceptHookArgs) -> None:
        _log.error("uncaught", place="thread", exc_info=raised.exc_value)

    def in_finalizer(raised: sys.UnraisableHookArgs) -> None:
        _log.error("uncaught", place="finalizer", exc_info=raised.exc_value)

    loop.set_exception_handler(in_loop)
    threading.excepthook = in_thread
    sys.unraisablehook = in_finalizer


def _log_end(_: type[BaseException], error: BaseException, __: TracebackType | None) -> None:
    _log.critical("ended by an error", exc_info=error)


def _log_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    _log.warning("warning", category=category.__qualname__, place=f"{filename}:{lineno}")


class _Libraries(logging.Handler):
    """Has lines of libraries written as ours are: without values, and a stack without its text."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line."""
        text = str(record.msg).partition("\n")[0]
        _log.log(record.levelno, text, logger=record.name, exc_info=record.exc_info)


class _Lines:
    """Lines on stderr: warnings and worse at once, others together within FLUSH_SECONDS.

    Writing a line for each call by itself would be a tenth of a small call's cost.
    """

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._flushed_at = 0.0
        self.service = ""
        self.informing = False

    def info(self, line: str) -> None:
        """Write the line within FLUSH_SECONDS."""
        self._lines.append(line)
        if time.monotonic() - self._flushed_at > FLUSH_SECONDS:
            self.flush()

    debug = info

    def call(self, method: str, status: str, tenant: str, milliseconds: float) -> None:
        """Write the line of a call, in the form that structlog gives the other lines.

        None of its values needs quoting, so this takes a quarter of structlog's time.
        """
        if self.informing:
            now = datetime.now(UTC).replace(tzinfo=None).isoformat()
            self.info(
                f'{{"event": "call", "method": "{method}", "status": "{status}", '
                f'"tenant": "{tenant}", "duration_ms": {milliseconds:.2f}, '
                f'"service": "{self.service}", "trace_id": "{_current.get()[3:35]}", '
                f'"level": "info", "timestamp": "{now}Z"}}'
            )

    def warning(self, line: str) -> None:
        """Write the line at once."""
        self._lines.append(line)
        self.flush()

    error = critical = exception = warning

    def flush(self) -> None:
        """Write the lines that wait."""
        lines, self._lines = self._lines, []
        self._flushed_at = time.monotonic()
        if lines:
            sys.stderr.write("\n".join(lines) + "\n")
            sys.stderr.flush()


_lines = _Lines()
atexit.register(_lines.flush)


log_call = _lines.call


def flush_logs() -> None:
    """Write the lines that wait; the health loop calls it, so that none waits long."""
    _lines.flush()


def count_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Show how many tasks of the event loop are alive: more and more of them are a leak."""
    TASKS.set_function(lambda: len(asyncio.all_tasks(loop)))


def serve_metrics(listen: str) -> Callable[[], None]:
    """Serve the process's metrics to Prometheus at host:port; return a function that stops it.

    Raises SettingsError where it cannot listen there.
    """
    if not listen:
        return lambda: None
    host, _, port = listen.rpartition(":")
    try:
        server, thread = prometheus_client.start_http_server(int(port), host or "0.0.0.0")  # noqa: S104
    except (OSError, ValueError) as error:
        raise SettingsError(f"PROSPECT_METRICS_LISTEN: {listen}: {error}") from None

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop


def start_trace(traceparent: str | bytes | None) -> str:
    """Join the caller's trace, or begin one where the caller sent none or a malformed one."""
    if not isinstance(traceparent, str) or not _TRACEPARENT.match(traceparent):
        # Not a secret: it need only be unlike the others.
        numbers = random.getrandbits(128), random.getrandbits(64)
        traceparent = f"00-{numbers[0]:032x}-{numbers[1]:016x}-01"
    _current.set(traceparent)
    return traceparent


def traceparent() -> str:
    """Return the current traceparent, empty outside a trace."""
    return _current.get()
