"""Options that several `prospect enrich` commands have, and the messages that they make."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from prospect.enrichment.v1 import enrichment_service_pb2 as pb
from prospect.enrichment.v1 import operations_pb2, prospect_pb2, runs_pb2

from services.cli.terminal.message_json import enum_names
from services.cli.terminal.times import TIME_HELP, parse_time
from services.enrichment.sources.catalogue import SourceName

LINKEDIN_HELP = "The address of the person's LinkedIn profile, however it was copied."
STATUSES = enum_names(prospect_pb2.EnrichmentStatus.DESCRIPTOR)
SOURCE_STATUSES = enum_names(prospect_pb2.SourceStatus.DESCRIPTOR)


class PriorityName(StrEnum):
    """A request's priority among the tenant's own."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


PRIORITIES = {
    None: prospect_pb2.PRIORITY_UNSPECIFIED,
    PriorityName.LOW: prospect_pb2.PRIORITY_LOW,
    PriorityName.NORMAL: prospect_pb2.PRIORITY_NORMAL,
    PriorityName.HIGH: prospect_pb2.PRIORITY_HIGH,
}
Company = Annotated[str, typer.Option(help="The company's name.")]
Email = Annotated[str, typer.Option(help="A known e-mail.")]
LinkedIn = Annotated[str, typer.Option("--linkedin", help=LINKEDIN_HELP)]
Cik = Annotated[str, typer.Option(help="The company's SEC number (CIK); implies --public.")]
Public = Annotated[
    bool | None,
    typer.Option("--public/--private", help="Whether the company files with the SEC."),
]
ProspectId = Annotated[str, typer.Option(help="UUID of a prospect that exists.")]
Force = Annotated[
    bool, typer.Option("--force", help="Ask sources again whose answers are still fresh.")
]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Do not follow the runs.")]
Limit = Annotated[int, typer.Option(min=1, help="How many at most.")]
All = Annotated[bool, typer.Option("--all", help="No limit: all of them.")]

Statuses = Annotated[
    list[str] | None,
    typer.Option("--status", help=f"May be repeated: {', '.join(STATUSES)}."),
]
OfProspect = Annotated[str, typer.Option("--prospect", help="UUID of a prospect.")]
OfBatch = Annotated[str, typer.Option("--batch", help="UUID of a batch.")]
Missing = Annotated[
    SourceName | None,
    typer.Option("--missing", help="Only runs in which this source found nothing."),
]
ErrorClass = Annotated[
    str, typer.Option("--error-class", help="The class of a step's last error, such as throttled.")
]
From = Annotated[str | None, typer.Option("--from", help=f"Not before: {TIME_HELP}.")]
To = Annotated[str | None, typer.Option("--to", help="Before this time.")]


def make_request(
    name: str,
    company: str,
    email: str,
    linkedin: str,
    cik: str,
    public: bool | None,
    prospect_id: str,
) -> pb.RequestEnrichmentRequest:
    """Return a request for the person of the options; the service validates the values."""
    return pb.RequestEnrichmentRequest(
        prospect_id=prospect_id,
        name=name,
        company=company,
        email=email,
        linkedin_url=linkedin,
        is_public_company=bool(cik) if public is None else public,
        company_cik=cik,
    )


def as_estimated(request: pb.RequestEnrichmentRequest) -> operations_pb2.EstimatedProspect:
    """Return the person of a request, to be estimated."""
    fields = operations_pb2.EstimatedProspect.DESCRIPTOR.fields_by_name
    return operations_pb2.EstimatedProspect(**{each: getattr(request, each) for each in fields})


def make_filter(
    statuses: list[str] | None,
    prospect: str,
    batch: str,
    missing: SourceName | None,
    error_class: str,
    start: str | None,
    end: str | None,
) -> runs_pb2.RunFilter:
    """Return the filter of runs that the options describe."""
    return runs_pb2.RunFilter(
        statuses=parse_statuses(statuses),
        prospect_id=prospect,
        batch_id=batch,
        missing=missing or "",
        error_class=error_class,
        created_from=parse_time("--from", start) if start else None,
        created_until=parse_time("--to", end) if end else None,
    )


def parse_statuses(names: list[str] | None) -> list[prospect_pb2.EnrichmentStatus.ValueType]:
    """Parse the names of statuses."""
    numbers = [parse_choice("--status", name, STATUSES) for name in names or ()]
    return [prospect_pb2.EnrichmentStatus.ValueType(number) for number in numbers]


def parse_choice(option: str, name: str, choices: dict[str, int]) -> int:
    """Return the number of one of several names."""
    if name not in choices:
        raise typer.BadParameter(f"{option} {name}: must be one of {', '.join(choices)}")
    return choices[name]
