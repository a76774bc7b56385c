"""A vendor in the sandbox: its addresses, its form of an error, and whom a call is about."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from devstack.sandbox.injections import Injection


@dataclass(frozen=True, slots=True)
class Setup:
    """What the vendors answer from."""

    data: Path
    injections: Sequence[Injection]
    sec_rate: int


@dataclass(frozen=True, slots=True)
class Called:
    """A call as it came in."""

    path: str
    query: str
    body: bytes

    def json(self) -> dict[str, Any]:
        """Return the body's JSON object; empty where it is none."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}


@dataclass(frozen=True, slots=True)
class Vendor:
    """How the sandbox answers as one source.

    `paths` are the beginnings of its addresses; `error` makes an error in its form from a status
    and headers; `about_whom` says whom a call is about, empty where the call does not tell.
    """

    paths: tuple[str, ...]
    routes: Callable[[Setup], list[Route]]
    error: Callable[[int, Mapping[str, str]], Response]
    about_whom: Callable[[Called], str]
