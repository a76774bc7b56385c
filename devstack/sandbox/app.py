"""The sandbox as one app: the four sources on one port, and a desk where tests order faults."""

from __future__ import annotations

from pathlib import Path

from starlette.applications import Starlette
from starlette.types import ASGIApp

from devstack.sandbox import claude, contactout, edgar, exa, injections
from devstack.sandbox.fault_desk import FaultDesk
from devstack.sandbox.fault_middleware import FaultMiddleware


def create_app(data: Path, latency: float = 0, sec_rate: int = edgar.REQUESTS_A_SECOND) -> ASGIApp:
    """Build the sandbox on the filings in `data`; each call takes `latency` seconds or more."""
    desk = FaultDesk()
    texts = injections.load(data)
    routes = [
        *desk.routes(),
        *contactout.routes(),
        *exa.routes(texts),
        *claude.routes(texts),
        *edgar.routes(data, rate=sec_rate),
    ]
    return FaultMiddleware(Starlette(routes=routes), desk, latency)
