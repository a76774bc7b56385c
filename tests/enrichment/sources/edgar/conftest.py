"""The SEC client, and the sandbox's EDGAR over real HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from devstack.sandbox import edgar
from services.enrichment.sources.edgar.client import SecEdgar
from services.enrichment.sources.http import certificates
from tests.enrichment.sources.edgar.fake_edgar import CONTACT, DATA, NOW, Make
from tests.enrichment.sources.serving import Pace, serve


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    async with httpx.AsyncClient(timeout=5, verify=certificates()) as client:

        def build(url: str, **changes: Any) -> SecEdgar:
            usual: dict[str, Any] = {
                "user_agent": CONTACT,
                "clock": lambda: NOW,
                "pace": Pace().wait,
            }
            settings = usual | {"client": client, **changes}
            return SecEdgar(data_url=url, archives_url=url, **settings)

        yield build


@pytest.fixture
async def sandbox() -> AsyncIterator[str]:
    async with serve(edgar.routes(DATA)) as url:
        yield url
