"""The sandbox as one app: every source on one port, and a desk where tests order faults."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from starlette.applications import Starlette
from starlette.types import ASGIApp

from devstack.sandbox import claude, contactout, edgar, exa, injections
from devstack.sandbox.fault_desk import FaultDesk
from devstack.sandbox.fault_middleware import FaultMiddleware
from devstack.sandbox.vendor import Setup, Vendor
from services.enrichment.sources.catalogue import SourceName

VENDORS: Mapping[SourceName, Vendor] = {
    SourceName.CONTACTOUT: contactout.VENDOR,
    SourceName.EXA: exa.VENDOR,
    SourceName.SEC: edgar.VENDOR,
    SourceName.CLAUDE: claude.VENDOR,
}


def create_app(data: Path, latency: float = 0, sec_rate: int = edgar.REQUESTS_A_SECOND) -> ASGIApp:
    """Build the sandbox on the filings in `data`; each call takes `latency` seconds or more."""
    desk = FaultDesk()
    setup = Setup(data, injections.load(data), sec_rate)
    routes = [route for name in SourceName for route in VENDORS[name].routes(setup)]
    return FaultMiddleware(Starlette(routes=[*desk.routes(), *routes]), VENDORS, desk, latency)
