"""A group of commands in the test's own process, beside running services."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any, ClassVar

from typer.testing import CliRunner, Result

from services.__main__ import app


@dataclass(frozen=True)
class InProcess:
    """The commands of one group with the environment in which they find their service."""

    group: ClassVar[str]
    environment: dict[str, str]

    async def __call__(self, *arguments: object, stdin: str | None = None) -> Result:
        """Run `prospect GROUP …` to its end, in a thread: the service has the loop."""
        command = [self.group, *map(str, arguments)]
        runner = CliRunner(env=self.environment)
        return await asyncio.to_thread(runner.invoke, app, command, input=stdin)

    async def json(self, *arguments: object, code: int = 0, stdin: str | None = None) -> list[Any]:
        """Run it with --json; return the lines."""
        done = await self(*arguments, "--json", stdin=stdin)
        assert (done.exit_code, done.stderr) == (code, "")
        return [json.loads(line) for line in done.stdout.splitlines()]
