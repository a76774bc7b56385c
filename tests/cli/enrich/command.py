"""`prospect enrich` in the test's own process, beside a running enrichment service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.cli.in_process import InProcess


@dataclass(frozen=True)
class Enrich(InProcess):
    """The command with the environment in which it finds the service."""

    group = "enrich"

    async def one(self, name: str = "Ada Lovelace", *arguments: object) -> dict[str, Any]:
        """Research a prospect; return what `one` says of it."""
        (said,) = await self.json("one", name, "--company", "Analytical Engines", *arguments)
        assert isinstance(said, dict)
        return said
