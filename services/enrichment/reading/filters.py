"""The contract's filters of runs and prospects, parsed into the statements' parameters."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp
from prospect.enrichment.v1 import enrichment_service_pb2 as pb
from prospect.enrichment.v1 import prospect_pb2, runs_pb2

from chassis.validation import parse_time
from services.enrichment.reading.store import ProspectFilter, RunFilter


def run_filter(wanted: runs_pb2.RunFilter) -> RunFilter:
    """Parse a filter of runs that keeps the contract's rules; refuse bad times."""
    return RunFilter(
        prospect_id=UUID(wanted.prospect_id) if wanted.prospect_id else None,
        statuses=_statuses(wanted.statuses),
        missing=wanted.missing or None,
        error_class=wanted.error_class or None,
        created_from=_time(
            "filter.created_from", wanted.created_from, wanted.HasField("created_from")
        ),
        created_until=_time(
            "filter.created_until", wanted.created_until, wanted.HasField("created_until")
        ),
        batch_id=UUID(wanted.batch_id) if wanted.batch_id else None,
    )


def prospect_filter(wanted: pb.ListProspectsRequest) -> ProspectFilter:
    """Parse the filter of ListProspects; refuse bad times."""
    status = prospect_pb2.SourceStatus.Name(wanted.source_status)
    return ProspectFilter(
        statuses=_statuses(wanted.statuses),
        source=wanted.source or None,
        source_status=_value(status, "SOURCE_STATUS_") if wanted.source_status else None,
        stale_before=_time("stale_before", wanted.stale_before, wanted.HasField("stale_before")),
    )


def _statuses(numbers: Iterable[prospect_pb2.EnrichmentStatus.ValueType]) -> list[str] | None:
    names = {prospect_pb2.EnrichmentStatus.Name(each) for each in numbers}
    return sorted(_value(name, "ENRICHMENT_STATUS_") for name in names) or None


def _value(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower()


def _time(field: str, moment: Timestamp, given: bool) -> datetime | None:
    return parse_time(field, moment) if given else None
