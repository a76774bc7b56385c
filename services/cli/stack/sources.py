"""`prospect sources check`: whether the clients still fit what the vendors answer."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated

import typer
from rich.console import Console

from chassis.clock import utc_now
from chassis.errors import OperatorError
from chassis.settings import PREFIX, SettingsError, load, read_secret
from services.cli.stack import source_checks
from services.cli.stack.source_checks import Checked
from services.cli.terminal.dollars import dollars
from services.cli.terminal.message_json import print_json
from services.enrichment.clients import open_clients
from services.enrichment.settings import SourceSettings
from services.enrichment.sources.catalogue import SOURCES, SourceName, credential_of, urls_of
from services.enrichment.sources.findings import Person

app = typer.Typer(no_args_is_help=True, help="The vendors that enrichment asks.")
SANDBOX_NAME = "sandbox (sandbox@prospect.example)"
IN_THE_SANDBOX = Person("Katherine Adams", "Apple Inc.", is_public_company=True, company_cik=320193)
SEC_SPACING = 0.2


@app.callback()
def group() -> None:
    """Check the vendors that enrichment asks."""


@app.command("check")
def check(
    only: Annotated[
        list[SourceName] | None, typer.Argument(metavar="[SOURCE]...", help="Only these.")
    ] = None,
    name: Annotated[str, typer.Option(help="Whom the vendors are asked about.")] = "Tim Cook",
    company: Annotated[str, typer.Option(help="The person's company.")] = "Apple Inc.",
    cik: Annotated[int, typer.Option(help="The company's SEC number (CIK).")] = 320193,
    yes: Annotated[
        bool, typer.Option("--yes", help="Ask the vendors; without, only say what it may cost.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Ask each source once and say, field by field, whether its client still fits the answer.

    A source whose key is in the environment is asked for real, after --yes; the sandbox answers for
    the others, which costs nothing. The SEC's key is PROSPECT_SEC_USER_AGENT. Nothing is stored.

    The exit code is 0 where every source fits, 1 where one does not or was not proven to, and 2
    where nothing was asked.

    Examples:

      prospect sources check

      prospect sources check exa sec --yes --json

      prospect sources check contactout --name "Ada Lovelace" --company "Analytical Engines" --yes
    """
    sources = [source for source in SourceName if source in (only or SourceName)]
    live = [source for source in sources if _credential(source)]
    _say_price(live, yes=yes)
    person = Person(name, company, is_public_company=True, company_cik=cik)
    with _settings(set(sources) - set(live)) as settings:
        asked = {source: person if source in live else IN_THE_SANDBOX for source in sources}
        found = asyncio.run(_check(settings, asked))
    for each in found:
        if as_json:
            print_json(source_checks.as_json(each, is_live=each.source in live))
        else:
            Console().print(source_checks.table(each, is_live=each.source in live))
    if not all(each.fits for each in found):
        raise typer.Exit(1)


def _say_price(live: Sequence[SourceName], *, yes: bool) -> None:
    if not live:
        return
    prices = {source: SOURCES[source].max_cost_micros for source in live}
    each = ", ".join(f"{source} {dollars(price)}" for source, price in prices.items())
    text = f"one call each to the vendors, at most: {each}; {dollars(sum(prices.values()))} in all"
    if not yes:
        raise OperatorError(f"nothing was asked yet; it takes {text}. Say --yes")
    Console(stderr=True).print(text)


async def _check(settings: SourceSettings, asked: dict[SourceName, Person]) -> list[Checked]:
    async def pace() -> None:
        await asyncio.sleep(SEC_SPACING)

    clients = open_clients(settings, pace, utc_now)
    try:
        return [
            await source_checks.check(source, clients.asks[source], person)
            for source, person in asked.items()
        ]
    finally:
        for close in clients.close:
            await close()


@contextmanager
def _settings(sandboxed: set[SourceName]) -> Iterator[SourceSettings]:
    """Return the settings of all sources; those without a key have the sandbox's address."""
    names = {
        credential_of(source): SANDBOX_NAME for source in SourceName if not _credential(source)
    }
    if not sandboxed:
        yield load(SourceSettings, names)
        return
    if not find_spec("devstack"):
        missing = ", ".join(_variable(source) for source in SourceName if source in sandboxed)
        raise SettingsError(f"{missing} is not set, and the sandbox is not installed here")
    with import_module("devstack.stack").sandbox() as url:
        yield load(
            SourceSettings, names | {key: url for each in sandboxed for key in urls_of(each)}
        )


def _credential(source: SourceName) -> str | None:
    return read_secret(_variable(source), os.environ)


def _variable(source: SourceName) -> str:
    return f"{PREFIX}{credential_of(source)}".upper()
