"""Logs as JSON lines on stderr, and the trace id that ties them together (W3C trace context)."""

from __future__ import annotations

import logging
import os
import re
import sys
from contextvars import ContextVar

import structlog

_TRACEPARENT = re.compile(r"^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}$")
_current: ContextVar[str] = ContextVar("traceparent", default="")


def configure_logging(service: str, level: str = "info") -> None:
    """Write one JSON object a line; `service` stands in each."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.bind_contextvars(service=service)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    for chatty in ("nats", "httpx", "pybreaker"):
        logging.getLogger(chatty).setLevel(logging.CRITICAL)


def start_trace(traceparent: str | None) -> str:
    """Join the caller's trace, or begin one where it sent none or a malformed one."""
    if not traceparent or not _TRACEPARENT.match(traceparent):
        traceparent = f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-01"
    _current.set(traceparent)
    structlog.contextvars.bind_contextvars(trace_id=traceparent.split("-")[1])
    return traceparent


def traceparent() -> str:
    """Return the current traceparent, empty outside a trace."""
    return _current.get()
