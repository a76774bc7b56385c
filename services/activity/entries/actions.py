"""What users do: each action type's name in the log and its number in the contract."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import structlog
from prospect.activity.v1 import activity_service_pb2 as pb

from chassis.database import Connection, Pool
from services.activity.sql import SQL

T = TypeVar("T")
ACTION_NAMES: dict[int, str] = {
    number: name.removeprefix("ACTION_TYPE_").lower()
    for name, number in pb.ActionType.items()
    if number
}
ACTION_NUMBERS = {name: pb.ActionType.ValueType(number) for number, name in ACTION_NAMES.items()}
_log = structlog.get_logger()


class UnknownActionError(LookupError):
    """An entry has an action type that this version does not know, and did not ask about yet."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class ActionNumbers:
    """The numbers of stored action types, also of those that only a newer release knows.

    Newer replicas record these during a rolling upgrade. The database is asked for their numbers
    when the first such entry is read; without an answer they are 0, unspecified.
    """

    def __init__(self) -> None:
        self._numbers = dict(ACTION_NUMBERS)

    def of(self, name: str) -> pb.ActionType.ValueType:
        """Return an action type's number; raise UnknownActionError where it has to be learned."""
        try:
            return self._numbers[name]
        except KeyError:
            raise UnknownActionError(name) from None

    async def learn(self, source: Pool | Connection, names: Iterable[str]) -> None:
        """Ask the database for the numbers of those names that are not known."""
        unknown = set(names) - self._numbers.keys()
        if not unknown:
            return
        stored = {row["name"]: row["number"] for row in await source.fetch(SQL.action_numbers)}
        for name in unknown:
            self._numbers[name] = pb.ActionType.ValueType(stored.get(name, 0))
            _log.warning("newer action type", action_type=name, number=self._numbers[name])

    async def learning(self, pool: Pool, read: Callable[[], Awaitable[T]]) -> T:
        """Return what `read` gives; where it meets an unknown action type, learn it and repeat."""
        while True:
            try:
                return await read()
            except UnknownActionError as unknown:
                await self.learn(pool, [unknown.name])
