"""The sandbox as one app: the four sources on one port, and a desk for tests."""

from __future__ import annotations

from pathlib import Path

from starlette.applications import Starlette
from starlette.types import ASGIApp

from devstack.sandbox import claude, contactout, edgar, exa, injections
from devstack.sandbox.desk import Desk
from devstack.sandbox.gate import Gate


def create_app(data: Path, latency: float = 0, sec_rate: int = edgar.REQUESTS_A_SECOND) -> ASGIApp:
    """Build the sandbox on the filings in `data`; each call takes `latency` seconds or more."""
    desk = Desk()
    texts = injections.load(data)
    routes = [
        *desk.routes(),
        *contactout.routes(),
        *exa.routes(texts),
        *claude.routes(texts),
        *edgar.routes(data, rate=sec_rate),
    ]
    return Gate(Starlette(routes=routes), desk, latency)
