"""A call to a source, its answer, and what can go wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from services.enrichment.sources.catalogue import SourceName
from services.enrichment.sources.findings import Finding, Person


@dataclass(frozen=True, slots=True)
class SourceCall:
    """What one call asks: about whom, what is known by now, and in which of the source's ways.

    Only Claude reads `findings`; `lookup` is one of the source's `lookups` in catalogue.py, empty
    where there is one way only. `look_back_days` is how far back the tenant wants the
    source to look, 0 for its own; `failures` is how often a call of this kind has failed before.
    """

    person: Person
    findings: Mapping[SourceName, Finding]
    lookup: str = ""
    look_back_days: int = 0
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens that a language model counted; those of the cache have prices of their own."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_write_tokens: int = 0
    cache_read_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What one call brought: `finding` is None when the source answered that it knows nothing.

    `note` says then what was looked through, without personal data; empty where that is the source.
    """

    finding: Finding | None
    cost_micros: int = 0
    request_id: str = ""
    usage: Usage | None = None
    note: str = ""


class ErrorClass(StrEnum):
    """Why a call failed, which decides what happens next (see `run/turn.py`)."""

    TRANSIENT = "transient"
    THROTTLED = "throttled"
    AUTH = "auth"
    QUOTA = "quota"
    INVALID_ANSWER = "invalid_answer"
    WRONG_PERSON = "wrong_person"
    REFUSED_REQUEST = "refused_request"
    CUT_SHORT = "cut_short"
    """A model's answer did not fit into the room that we gave it."""
    CONFIGURATION = "configuration"
    """We ask in a way that the vendor takes of nobody, such as for a model that is retired."""


class SourceError(Exception):
    """A call that brought nothing usable.

    `message` names status and reason and carries no personal data; `retry_after` is in seconds,
    set when the source says how long to stay away; `cost_micros` is what the call cost even so;
    `uncertain` says that the request left and its answer was lost: it may have been paid for;
    `of_source` is False where it says nothing of the source's health, such as a text that fails its
    check for what it was about.
    """

    def __init__(
        self,
        error_class: ErrorClass,
        message: str,
        *,
        retry_after: float | None = None,
        cost_micros: int = 0,
        request_id: str = "",
        uncertain: bool = False,
        of_source: bool = True,
    ) -> None:
        super().__init__(message)
        self.error_class = error_class
        self.message = message
        self.retry_after = retry_after
        self.cost_micros = cost_micros
        self.request_id = request_id
        self.uncertain = uncertain
        self.of_source = of_source
