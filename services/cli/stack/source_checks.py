"""One source's check: what it answered, what its client made of it, and how that is shown."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from chassis.clock import utc_now
from services.cli.terminal.dollars import dollars
from services.cli.terminal.screen import shown
from services.enrichment.sources.call import Answer, SourceCall, SourceError
from services.enrichment.sources.catalogue import SOURCES, SourceName
from services.enrichment.sources.expected_fields import Compared, compare
from services.enrichment.sources.findings import (
    Finding,
    Person,
    Provenance,
    WebFindings,
    WebPage,
    to_json,
)
from services.enrichment.sources.http import hearing

Ask = Callable[[SourceCall], Awaitable[Answer]]
_COLOURS = {"fits": "green", "absent": "yellow", "changed": "red"}


@dataclass(frozen=True, slots=True)
class Checked:
    """How a source's answer fits: `outcome` is what the client made of it."""

    source: SourceName
    person: Person
    outcome: Answer | SourceError
    compared: Compared

    @property
    def drift(self) -> bool:
        """Whether a field is not what the client reads."""
        return any(each.is_drift for each in self.compared.fields)

    @property
    def fits(self) -> bool:
        """Whether the client found somebody in an answer whose fields are those that it reads."""
        return not self.drift and isinstance(self.outcome, Answer) and bool(self.outcome.finding)

    @property
    def verdict(self) -> str:
        """Say it in a word: fits, drift, refused or not proven."""
        if self.drift:
            return "drift"
        if isinstance(self.outcome, SourceError):
            return "refused"
        return "fits" if self.fits else "not proven"

    @property
    def said(self) -> str:
        """Say what the client made of the answer."""
        if isinstance(self.outcome, SourceError):
            return f"{self.outcome.error_class}: {self.outcome.message}"
        if not self.outcome.finding:
            return f"nothing is known of {self.person.name}: name somebody else with --name"
        return f"read: {', '.join(_filled(self.outcome.finding))}"


async def check(source: SourceName, ask: Ask, person: Person) -> Checked:
    """Ask a source once, and put what it answered beside what its client reads."""
    way = next(iter(SOURCES[source].ways_to_ask(person)), "")
    outcome: Answer | SourceError
    with hearing() as answers:
        try:
            outcome = await ask(SourceCall(person, _evidence(person), way))
        except SourceError as error:
            outcome = error
    compared = compare(source, answers[0]) if answers else Compared()
    return Checked(source, person, outcome, compared)


def as_json(checked: Checked, *, is_live: bool) -> dict[str, Any]:
    """Return a check as one object."""
    return {
        "source": checked.source.value,
        "asked": "vendor" if is_live else "sandbox",
        "verdict": checked.verdict,
        "outcome": checked.said,
        "cost_micros": checked.outcome.cost_micros,
        "fields": [
            {
                "field": each.field.path,
                "needed": each.field.is_needed,
                "state": each.state,
                "came": each.came,
            }
            for each in checked.compared.fields
        ],
        "new_fields": list(checked.compared.new),
    }


def table(checked: Checked, *, is_live: bool) -> Table:
    """Return a check as a table, a field a row."""
    asked = f"vendor, {dollars(checked.outcome.cost_micros)}" if is_live else "sandbox"
    new = f"\nnew: {', '.join(checked.compared.new)}" if checked.compared.new else ""
    found = Table(
        "field",
        "needed",
        "state",
        "came",
        title=f"{checked.source} ({asked}): {checked.verdict}",
        title_justify="left",
        caption=shown(f"{checked.said}{new}"),
        caption_justify="left",
    )
    for each in checked.compared.fields:
        state = f"[{_COLOURS[each.state]}]{each.state}[/]"
        found.add_row(each.field.path, "yes" if each.field.is_needed else "", state, each.came)
    return found


def _filled(finding: Finding) -> list[str]:
    """Return the finding's fields that have something in them."""
    stored: Mapping[str, Any] = to_json(finding)
    return [name for name, value in stored.items() if value and name != "provenance"]


def _evidence(person: Person) -> dict[SourceName, Finding]:
    """Return one page about the person, for the summary to be made of."""
    page = WebPage(
        title=f"{person.name} speaks at {person.company}",
        url="https://news.example/speech",
        published_on=utc_now().date(),
        author="Newsroom",
        excerpt=f"{person.name} of {person.company} spoke for 45 minutes.",
    )
    where = Provenance(SourceName.EXA, "https://news.example", "", utc_now())
    return {SourceName.EXA: WebFindings((page,), where)}
