"""`prospect enrich suppress|unsuppress|erase`: the suppression list, and erasing a prospect."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, NoReturn

import grpc
import typer
from prospect.enrichment.v1 import enrichment_service_pb2 as pb
from prospect.enrichment.v1 import policy_pb2
from prospect.enrichment.v1.enrichment_service_pb2_grpc import EnrichmentServiceStub

from services.cli.enrich import csv_rows
from services.cli.enrich.options import Email, LinkedIn
from services.cli.enrich.tables import moment
from services.cli.terminal.client import REFUSED_EXIT, Client, omitted, violations
from services.cli.terminal.message_json import print_json
from services.cli.terminal.screen import shown
from services.cli.terminal.shared_options import ENRICHMENT, calls

PEOPLE_A_REQUEST = 1_000
_PERSON = re.compile(r"people\[(\d+)\]\.?")
Person = policy_pb2.SuppressedPerson
People = list[tuple[int, Person]]
"""People, each with its line in the file."""

File = Annotated[
    str | None,
    typer.Argument(metavar="[FILE.csv]", help="Columns email, linkedin_url, name, company; or -."),
]
Name = Annotated[str, typer.Option(help="A person's name; counts with --company.")]
Company = Annotated[str, typer.Option(help="The company's name; counts with --name.")]


@calls(ENRICHMENT)
def suppress(
    client: Client,
    file: File = None,
    email: Email = "",
    linkedin: LinkedIn = "",
    name: Name = "",
    company: Company = "",
    reason: Annotated[
        str, typer.Option(help="Kept with the hashes, such as opt-out; no personal data.")
    ] = "",
) -> None:
    """Put people on the suppression list, as keyed hashes: nobody asks about them any more.

    Needs enrichment:admin.

    Examples:

      prospect enrich suppress --email ada@engines.example --reason opt-out

      prospect enrich suppress opted-out.csv --reason opt-out
    """
    added = known = 0
    with client.calling(EnrichmentServiceStub) as stub:
        for group in _groups(file, email, linkedin, name, company):
            request = policy_pb2.SuppressRequest(people=[p for _, p in group], reason=reason)
            try:
                answer = stub.Suppress(request)
            except grpc.RpcError as error:
                _refuse(error, group, file)
            added, known = added + answer.added, known + answer.known
    if client.as_json:
        print_json({"added": added, "known": known})
    else:
        typer.echo(f"{added:,} keys added, {known:,} known before")


@calls(ENRICHMENT)
def unsuppress(
    client: Client,
    file: File = None,
    email: Email = "",
    linkedin: LinkedIn = "",
    name: Name = "",
    company: Company = "",
) -> None:
    """Take people off the suppression list. Needs enrichment:admin.

    Example: prospect enrich unsuppress --name "Ada Lovelace" --company "Analytical Engines"
    """
    removed = 0
    with client.calling(EnrichmentServiceStub) as stub:
        for group in _groups(file, email, linkedin, name, company):
            request = policy_pb2.UnsuppressRequest(people=[p for _, p in group])
            try:
                removed += stub.Unsuppress(request).removed
            except grpc.RpcError as error:
                _refuse(error, group, file)
    if client.as_json:
        print_json({"removed": removed})
    else:
        typer.echo(f"{removed:,} keys removed")


@calls(ENRICHMENT)
def erase(
    client: Client,
    prospect_id: Annotated[str, typer.Argument(help="The prospect's UUID.")],
    also_suppress: Annotated[
        bool, typer.Option("--suppress", help="Also put the person on the suppression list.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask first.")] = False,
) -> None:
    """Remove a prospect, its runs and all that was found; print the receipt.

    Needs enrichment:admin.

    Example: prospect enrich erase 01938f2e-7a3b-7c00-8000-0123456789ab --suppress --yes
    """
    if not yes:
        typer.confirm(f"Erase prospect {prospect_id}? It cannot be undone.", abort=True, err=True)
    request = pb.EraseProspectRequest(prospect_id=prospect_id, suppress=also_suppress)
    with client.calling(EnrichmentServiceStub) as stub:
        receipt = stub.EraseProspect(request)
    if client.as_json:
        print_json(receipt)
    else:
        typer.echo(
            f"erased with {receipt.runs:,} runs and {receipt.pending_events:,} pending events at"
            f" {moment(receipt.erased_at)} UTC; receipt {receipt.receipt_id}"
        )


def _groups(
    file: str | None, email: str, linkedin: str, name: str, company: str
) -> Iterator[People]:
    """Yield the people of the file in groups of one request each, or the one of the options."""
    one = Person(email=email, linkedin_url=linkedin, name=name, company=company)
    is_named = any((email, linkedin, name, company))
    if is_named == bool(file):
        raise typer.BadParameter("give --email, --linkedin, or --name and --company; or a file")
    if file is None:
        yield [(0, one)]
        return
    group: People = []
    for row in csv_rows.read_rows(file, csv_rows.PEOPLE):
        texts = {each: row.cells.get(each, "") for each in csv_rows.PEOPLE.all}
        group.append((row.line, Person(**texts)))
        if len(group) == PEOPLE_A_REQUEST:
            yield group
            group = []
    if group:
        yield group


def _refuse(error: grpc.RpcError, people: People, file: str | None) -> NoReturn:
    """Print which lines of a file were refused; earlier groups have been taken."""
    if not (file and isinstance(error, grpc.Call) and violations(error)):
        raise error
    for each in violations(error):
        match = _PERSON.match(each.field)
        line = people[int(match[1])][0] if match else 0
        field = each.field[match.end() :] if match else each.field
        where = f"line {line}: {field}".removesuffix(": ")
        typer.echo(shown(f"{where}: {each.description} ({each.reason})"), err=True)
    if more := omitted(error):
        typer.echo(f"and {more} more", err=True)
    typer.echo(
        "the 1,000 lines around them were not taken, those before were; correct them and repeat",
        err=True,
    )
    raise typer.Exit(REFUSED_EXIT)
