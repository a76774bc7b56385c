"""`prospect enrich` in the test's own process, beside a running enrichment service."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from typer.testing import CliRunner, Result

from services.__main__ import app


@dataclass(frozen=True)
class Enrich:
    """The command with the environment in which it finds the service."""

    environment: dict[str, str]

    async def __call__(self, *arguments: object, stdin: str | None = None) -> Result:
        """Run `prospect enrich …` to its end, in a thread: the service has the loop."""
        command = ["enrich", *map(str, arguments)]
        runner = CliRunner(env=self.environment)
        return await asyncio.to_thread(runner.invoke, app, command, input=stdin)

    async def json(self, *arguments: object, code: int = 0, stdin: str | None = None) -> list[Any]:
        """Run it with --json; return the lines."""
        done = await self(*arguments, "--json", stdin=stdin)
        assert (done.exit_code, done.stderr) == (code, "")
        return [json.loads(line) for line in done.stdout.splitlines()]

    async def one(self, name: str = "Ada Lovelace", *arguments: object) -> dict[str, Any]:
        """Research a prospect; return what `one` says of it."""
        (said,) = await self.json("one", name, "--company", "Analytical Engines", *arguments)
        assert isinstance(said, dict)
        return said
