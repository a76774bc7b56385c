"""The README's code works as it stands there."""

from __future__ import annotations

import asyncio
import re
import uuid
from typing import Any

from services.cli.catalogue import ServiceName
from services.dev import ROOT
from tests.harness import Database, Identity, Services


def example(name: str) -> dict[str, Any]:
    """Execute the README's example and return what it defines."""
    marked = re.search(
        rf"<!-- example: {name} -->\n```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S
    )
    assert marked
    defined: dict[str, Any] = {}
    exec(marked.group(1), defined)
    return defined


async def test_the_readmes_example_records_an_activity(
    services: Services, ours: Identity, database: Database
) -> None:
    token = ours.metadata()[0][1].split()[1]
    async with services.running(ServiceName.ACTIVITY):
        address = services.addresses[ServiceName.ACTIVITY]
        record_login = example("record")["record_login"]
        activity_id = await asyncio.to_thread(record_login, address, token, str(ours.user_id))
    rows = await database.fetch("select activity_id from activity.activity_log")
    assert [row["activity_id"] for row in rows] == [uuid.UUID(activity_id)]


def test_every_verb_of_make_that_the_readme_names_is_there() -> None:
    verbs = set(re.findall(r"`make ([a-z]+)`", (ROOT / "README.md").read_text()))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert verbs <= targets
