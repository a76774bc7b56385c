"""The sandbox as one app: the four sources on one port, and a desk for tests."""

from __future__ import annotations

from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware

from services.enrichment.sandbox import claude, contactout, edgar, exa
from services.enrichment.sandbox.faults import Desk, FaultMiddleware


def create_app(data: Path, latency: float = 0) -> Starlette:
    """Build the sandbox on the filings in `data`; each call takes `latency` seconds or more."""
    desk = Desk()
    return Starlette(
        routes=[
            *desk.routes(),
            *contactout.routes(),
            *exa.routes(),
            *claude.routes(),
            *edgar.routes(data),
        ],
        middleware=[Middleware(FaultMiddleware, desk=desk, latency=latency)],
    )
