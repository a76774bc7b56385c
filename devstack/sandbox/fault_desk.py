"""Where tests order faults and read how often each source was called.

`POST /_sandbox/faults` orders one, `GET` lists kinds and orders, `DELETE` withdraws them;
`GET /_sandbox/calls` counts the calls by source, and by the person or company asked about.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from devstack.sandbox.faults import Fault, catalogue


@dataclass
class FaultDesk:
    """The calls that were made, and the faults that are still to be injected."""

    calls: Counter[str] = field(default_factory=Counter)
    by_whom: dict[str, Counter[str]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def count(self, source: str, about: str) -> None:
        """Count a call."""
        self.calls[source] += 1
        self.by_whom.setdefault(source, Counter())[about] += 1

    def take(self, source: str, about: str, path: str) -> Fault | None:
        """Return the fault for this call, if any: of several the one ordered first."""
        for fault in self.faults:
            if fault.fits(source, about, path):
                fault.times -= 1
                if fault.times <= 0:
                    self.faults.remove(fault)
                return fault
        return None

    def routes(self) -> list[Route]:
        """Return the sandbox's own routes."""
        return [
            Route("/_sandbox/calls", self._calls, methods=["GET", "DELETE"]),
            Route("/_sandbox/faults", self._faults, methods=["GET", "POST", "DELETE"]),
        ]

    async def _calls(self, request: Request) -> Response:
        if request.method == "DELETE":
            self.calls.clear()
            self.by_whom.clear()
        return JSONResponse({**self.calls, "about": self.by_whom})

    async def _faults(self, request: Request) -> Response:
        if request.method == "POST":
            try:
                self.faults.append(Fault.model_validate_json(await request.body()))
            except ValidationError as error:
                wrong = [f"{'.'.join(map(str, e['loc']))} {e['msg']}" for e in error.errors()]
                return JSONResponse({"error": wrong, "kinds": catalogue()}, 400)
        elif request.method == "DELETE":
            self.faults.clear()
        orders = [fault.model_dump(mode="json") for fault in self.faults]
        status = 201 if request.method == "POST" else 200
        return JSONResponse({"kinds": catalogue(), "ordered": orders}, status)
