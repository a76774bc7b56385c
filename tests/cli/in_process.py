"""Commands in the test's own process, beside running services.

A process takes a second of a core before it does anything; what a signal or an exit of the
interpreter does needs one.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any, ClassVar

from typer.testing import CliRunner, Result

from services.__main__ import app


async def invoke(
    *arguments: object, environment: dict[str, str], stdin: str | None = None
) -> Result:
    """Run `prospect …` to its end, in a thread: the service has the loop."""
    runner = CliRunner(env=environment)
    return await asyncio.to_thread(runner.invoke, app, [*map(str, arguments)], input=stdin)


@dataclass(frozen=True)
class InProcess:
    """The commands of one group with the environment in which they find their service."""

    group: ClassVar[str]
    environment: dict[str, str]

    async def __call__(self, *arguments: object, stdin: str | None = None) -> Result:
        """Run `prospect GROUP …` to its end."""
        return await invoke(self.group, *arguments, environment=self.environment, stdin=stdin)

    async def json(self, *arguments: object, code: int = 0, stdin: str | None = None) -> list[Any]:
        """Run it with --json; return the lines."""
        done = await self(*arguments, "--json", stdin=stdin)
        assert (done.exit_code, done.stderr) == (code, "")
        return [json.loads(line) for line in done.stdout.splitlines()]
