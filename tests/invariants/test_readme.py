"""What the pages say holds: their code works as it stands there, what they name is there."""

from __future__ import annotations

import asyncio
import re
import uuid
from pathlib import Path
from typing import Any

import pytest
import typer

from devstack.stack import ROOT
from services.__main__ import app
from services.cli.operate.services import ServiceName, known_variables
from tests.enrichment.test_service import sandbox_settings
from tests.harness import Database, Identity, SandboxDesk, Services


def example(name: str, page: str = "README.md") -> dict[str, Any]:
    """Execute a page's example and return what it defines."""
    marked = re.search(
        rf"<!-- example: {name} -->\n```python\n(.*?)```", (ROOT / page).read_text(), re.S
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


async def test_the_example_of_enrichment_brings_a_prospect(
    services: Services, ours: Identity, sandbox_desk: SandboxDesk
) -> None:
    token = ours.metadata()[0][1].split()[1]
    async with services.running(ServiceName.ENRICHMENT, **sandbox_settings(sandbox_desk.url)):
        address = services.addresses[ServiceName.ENRICHMENT]
        enrich = example("enrich", "docs/enrichment.md")["enrich"]
        found = await asyncio.to_thread(enrich, address, token, "Ada Lovelace", "Engines")
    assert found.ai_summary.sentences


PAGES = [*ROOT.glob("*.md"), ROOT / "deploy/README.md", *(ROOT / "docs").rglob("*.md")]
PATH = re.compile(r"(?:chassis|deploy|devstack|docs|protos|services|tests)/[\w./-]+\.\w+")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    text = page.read_text()
    linked = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    named = [name for span in re.findall(r"`([^`\n]+)`", text) for name in PATH.findall(span)]
    missing = [path for path in linked if not (page.parent / path).exists()]
    assert missing + [path for path in named if not (ROOT / path).exists()] == []


def test_every_page_of_the_docs_is_in_their_contents() -> None:
    contents = (ROOT / "docs/README.md").read_text()
    docs = ROOT / "docs"
    pages = {
        str(page.relative_to(docs)) for page in [*docs.glob("*.md"), *docs.glob("inside/*.md")]
    }
    assert pages - {"README.md"} - set(re.findall(r"\]\(([\w/-]+\.md)\)", contents)) == set()


def test_every_setting_that_a_page_names_is_one() -> None:
    named = {
        name for page in PAGES for name in re.findall(r"PROSPECT_[A-Z_]+[A-Z]", page.read_text())
    }
    reasons = {"PROSPECT_NOT_FOUND"}  # has the form of a setting
    assert named - reasons - known_variables().keys() == set()


def test_every_command_that_a_page_names_is_one() -> None:
    named = {
        tuple(words.split())
        for page in PAGES
        for words in re.findall(r"\bprospect ((?:enrich|activity|usage) [a-z]+)", page.read_text())
    }
    commands = typer.main.get_command(app)
    for group, name in named:
        assert name in commands.commands[group].commands, f"prospect {group} {name}"  # type: ignore[attr-defined]


def test_every_verb_of_make_that_the_readme_names_is_there() -> None:
    verbs = set(re.findall(r"`make ([a-z]+)`", (ROOT / "README.md").read_text()))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert verbs <= targets
