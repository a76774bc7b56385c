"""`prospect enrich policy`: show and set what your tenant allows."""

from __future__ import annotations

from typing import Annotated

import typer
from prospect.enrichment.v1 import policy_pb2 as pb
from prospect.enrichment.v1.enrichment_service_pb2_grpc import EnrichmentServiceStub
from rich.console import Console, Group
from rich.table import Table

from services.cli.enrich.tables import moment, span
from services.cli.terminal.client import Client
from services.cli.terminal.dollars import dollars, parse_dollars
from services.cli.terminal.message_json import print_json
from services.cli.terminal.shared_options import ENRICHMENT, before_command, calls
from services.cli.terminal.times import SPAN_HELP, parse_span
from services.enrichment.sources.catalogue import SOURCES, SourceName

app = typer.Typer(
    callback=before_command(ENRICHMENT),
    no_args_is_help=True,
    help="Show or set what your tenant allows.",
)
_DOLLARS = "DOLLARS"


LOOKUPS = SOURCES[SourceName.CONTACTOUT].lookups

Sources = Annotated[list[SourceName] | None, typer.Option(help="May be repeated.")]
Stopped = Annotated[
    bool | None, typer.Option("--stop/--go", help="The kill switch: no call leaves while stopped.")
]
DayBudget = Annotated[
    str | None, typer.Option(metavar=_DOLLARS, help="The most a day (UTC); 0 is no limit.")
]
RunBudget = Annotated[
    str | None, typer.Option(metavar=_DOLLARS, help="The most a run; 0 is no limit.")
]
SourceBudgets = Annotated[
    list[str] | None,
    typer.Option(metavar="SOURCE=DOLLARS", help="The most a day for a source; repeatable."),
]
FreshFor = Annotated[
    list[str] | None,
    typer.Option(
        metavar="SOURCE=SPAN",
        help=f"How long a source's answers are fresh: {SPAN_HELP}, 0s for its default; repeatable.",
    ),
]
LookBack = Annotated[
    str | None,
    typer.Option(
        metavar="SPAN",
        help="How far back a company's filings with the SEC are read at least; 0d for the default.",
    ),
]
Lookups = Annotated[
    list[str] | None,
    typer.Option(
        metavar="LOOKUP",
        help=f"How to ask for contact data, in this order: {', '.join(LOOKUPS)}; repeatable.",
    ),
]
PaidAgain = Annotated[
    bool | None,
    typer.Option(
        "--ask-paid-again/--never-pay-twice",
        help="Whether a paid source is asked once more when a crash lost its reply.",
    ),
]
RunsAtOnce = Annotated[
    int | None, typer.Option(help="How many runs are worked on at once; 0 for the default.")
]
Weight = Annotated[int | None, typer.Option(help="Your share among tenants, 1 to 100.")]
Debounce = Annotated[
    str | None,
    typer.Option(metavar="SPAN", help="How long a new run waits for further requests; 0s is off."),
]


@app.command("show")
@calls(ENRICHMENT)
def show(
    client: Client,
) -> None:
    """Show the policy, with the defaults filled in.

    Example: prospect enrich policy show
    """
    with client.calling(EnrichmentServiceStub) as stub:
        policy = stub.GetPolicy(pb.GetPolicyRequest()).policy
    _print(policy, client.as_json)


@app.command("set")
@calls(ENRICHMENT)
def set_(
    client: Client,
    stopped: Stopped = None,
    day_budget: DayBudget = None,
    run_budget: RunBudget = None,
    source_budget: SourceBudgets = None,
    fresh: FreshFor = None,
    look_back: LookBack = None,
    enable: Sources = None,
    disable: Sources = None,
    lookup: Lookups = None,
    ask_paid_again: PaidAgain = None,
    runs_at_once: RunsAtOnce = None,
    weight: Weight = None,
    debounce: Debounce = None,
) -> None:
    """Change what is named, and show the policy. Needs enrichment:admin.

    Examples:

      prospect enrich policy set --day-budget 25 --run-budget 0.75 --source-budget contactout=15

      prospect enrich policy set --disable exa --fresh sec=12h --look-back 730d --weight 2

      prospect enrich policy set --stop
    """
    plain = {
        "is_stopped": stopped,
        "day_budget_micros": _micros("--day-budget", day_budget),
        "run_budget_micros": _micros("--run-budget", run_budget),
        "contact_lookups": _lookups(lookup),
        "ask_paid_again": ask_paid_again,
        "most_runs_at_once": runs_at_once,
        "weight": weight,
        "debounce_seconds": _seconds("--debounce", debounce),
    }
    request = pb.UpdatePolicyRequest(policy=pb.Policy())
    for name, value in plain.items():
        if value is not None:
            _set(request, name, value)
    rows = _rows(source_budget, fresh, enable, disable)
    if look_back is not None:
        days = parse_span("--look-back", look_back).days
        rows.setdefault(SourceName.SEC, {})["look_back_days"] = days
    if not rows and not request.update_mask.paths:
        raise typer.BadParameter("name what to change; prospect enrich policy set --help")
    with client.calling(EnrichmentServiceStub) as stub:
        if rows:  # a row is replaced whole: begin with what it has
            now = stub.GetPolicy(pb.GetPolicyRequest()).policy
            _set(request, "sources", [_changed(each, rows) for each in now.sources
                                      if each.source in rows])  # fmt: skip
        policy = stub.UpdatePolicy(request).policy
    _print(policy, client.as_json)


Changes = dict[str, dict[str, int | bool]]


def _set(request: pb.UpdatePolicyRequest, name: str, value: object) -> None:
    request.update_mask.paths.append(name)
    if isinstance(value, list):
        getattr(request.policy, name).extend(value)
    else:
        setattr(request.policy, name, value)


def _rows(
    budgets: list[str] | None,
    fresh: list[str] | None,
    enable: list[SourceName] | None,
    disable: list[SourceName] | None,
) -> Changes:
    """Return what changes of each source."""
    rows: Changes = {}
    for source, text in _pairs("--source-budget", budgets):
        rows.setdefault(source, {})["day_budget_micros"] = parse_dollars("--source-budget", text)
    for source, text in _pairs("--fresh", fresh):
        rows.setdefault(source, {})["fresh_for_seconds"] = _seconds("--fresh", text) or 0
    for is_enabled, sources in ((True, enable), (False, disable)):
        for each in sources or ():
            rows.setdefault(each, {})["is_enabled"] = is_enabled
    return rows


def _pairs(option: str, texts: list[str] | None) -> list[tuple[SourceName, str]]:
    pairs = []
    for text in texts or ():
        source, equals, value = text.partition("=")
        if not equals or source not in [each.value for each in SourceName]:
            names = ", ".join(SourceName)
            raise typer.BadParameter(f"{option} {text}: must be SOURCE=…, one of {names}")
        pairs.append((SourceName(source), value))
    return pairs


def _changed(row: pb.SourcePolicy, changes: Changes) -> pb.SourcePolicy:
    default = SOURCES[SourceName(row.source)].fresh_for.total_seconds()
    if row.fresh_for_seconds == default:
        row.fresh_for_seconds = 0  # goes on following the default
    for name, value in changes[row.source].items():
        setattr(row, name, value)
    return row


def _lookups(names: list[str] | None) -> list[str] | None:
    for name in names or ():
        if name not in LOOKUPS:
            raise typer.BadParameter(f"--lookup {name}: must be one of {', '.join(LOOKUPS)}")
    return names or None


def _micros(option: str, text: str | None) -> int | None:
    return None if text is None else parse_dollars(option, text)


def _seconds(option: str, text: str | None) -> int | None:
    return None if text is None else int(parse_span(option, text).total_seconds())


def _print(policy: pb.Policy, as_json: bool) -> None:
    if as_json:
        print_json(policy)
    else:
        Console().print(_shown(policy))


def _shown(policy: pb.Policy) -> Group:
    table = Table(show_header=False)
    paid_again = "asked once more" if policy.ask_paid_again else "not asked again"
    changed = moment(policy.updated_at) if policy.HasField("updated_at") else "never"
    for name, value in (
        ("calls", "STOPPED: none leaves" if policy.is_stopped else "leave"),
        ("budget of a day", _budget(policy.day_budget_micros)),
        ("budget of a run", _budget(policy.run_budget_micros)),
        ("contact lookups", ", ".join(policy.contact_lookups)),
        ("a paid source whose reply was lost", paid_again),
        ("runs at once", f"{policy.most_runs_at_once:,}"),
        ("weight among tenants", str(policy.weight)),
        ("debounce", span(policy.debounce_seconds) if policy.debounce_seconds else "off"),
        ("changed (UTC)", changed),
    ):
        table.add_row(name, value)
    sources = Table("source", "asked", "answers stand", "budget of a day", "looks back")
    for each in policy.sources:
        asked, budget = "yes" if each.is_enabled else "no", _budget(each.day_budget_micros)
        look_back = f"{each.look_back_days:,} days" if each.look_back_days else ""
        sources.add_row(each.source, asked, span(each.fresh_for_seconds), budget, look_back)
    return Group(table, sources)


def _budget(micros: int) -> str:
    return dollars(micros) if micros else "no limit"
