"""The faults that can be ordered: one row a kind, with the sources it fits and what its value says.

The first group breaks the transport, whatever the source. The rest changes what a source says, in
that source's own form; `GET /_sandbox/faults` lists them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.requests import Request

from devstack.sandbox import odd_filing
from devstack.sandbox.odd_json import NAMES
from services.enrichment.sources.catalogue import RESEARCH, SourceName

CONTACTOUT, EXA, CLAUDE = SourceName.CONTACTOUT, SourceName.EXA, SourceName.CLAUDE
SEC = SourceName.SEC
SOURCES = tuple(SourceName)


class Kind(StrEnum):
    """What goes wrong."""

    LATENCY = "latency"
    HANG = "hang"
    CUT = "cut"
    LOST = "lost"
    TRUNCATE = "truncate"
    MALFORMED = "malformed"
    HTML = "html"
    HUGE = "huge"
    ODD_JSON = "odd_json"
    BODY = "body"
    REDIRECT = "redirect"
    STATUS = "status"
    RETRY_AFTER = "retry_after"
    ERROR_BODY = "error_body"
    NOT_FOUND = "not_found"
    STRANGER = "stranger"
    QUOTA = "quota"
    REFUSAL = "refusal"
    UNPRICED = "unpriced"
    SAMPLE = "sample"
    UNREACHABLE_PERSON = "unreachable_person"
    CAMEL_CASE = "camel_case"
    ADDED_TO_NAME = "added_to_name"
    INJECTION = "injection"
    OBEDIENT = "obedient"
    UNCITED = "uncited"
    WRONG_NUMBER = "wrong_number"
    STOP = "stop"
    BOMB = "bomb"
    EXTERNAL_ENTITY = "external_entity"
    ODD_FILING = "odd_filing"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True)
class About:
    """What a kind does, what its value means, and which sources have it."""

    meaning: str
    value: str = ""
    sources: tuple[str, ...] = SOURCES


KINDS: Mapping[Kind, About] = {
    Kind.LATENCY: About("the answer comes late", "seconds"),
    Kind.HANG: About("no answer comes"),
    Kind.CUT: About("the connection is cut before the answer"),
    Kind.LOST: About("the call is done, and its answer cut off whole"),
    Kind.TRUNCATE: About("half the body comes, under a Content-Length of the whole"),
    Kind.MALFORMED: About("half the body comes as if it were whole"),
    Kind.HTML: About("a page of HTML comes, with status 200"),
    Kind.HUGE: About("a body without end in sight comes", "megabytes, 100 if not given"),
    Kind.ODD_JSON: About(
        "JSON comes with what parsers or databases do not take", f"one of {', '.join(NAMES)}"
    ),
    Kind.BODY: About("just this text comes as JSON, with status 200", "the text"),
    Kind.REDIRECT: About("the answer points elsewhere", "the address"),
    Kind.STATUS: About("an error comes in the vendor's form", "the status"),
    Kind.RETRY_AFTER: About("429 comes with Retry-After", "seconds, or an HTTP date"),
    Kind.ERROR_BODY: About("200 comes with an error inside"),
    Kind.NOT_FOUND: About("nothing is known", sources=RESEARCH),
    Kind.STRANGER: About("the answer is about somebody else"),
    Kind.QUOTA: About(
        "the account is used up: ContactOut 403, Exa 402, Claude 429 with its spend limit",
        "Exa's tag, NO_MORE_CREDITS if not given",
        (CONTACTOUT, EXA, CLAUDE),
    ),
    Kind.REFUSAL: About(
        "the call is refused as the vendor's documents have it",
        "ContactOut: bad_credentials, bad_input, no_access, out_of_credits or a text; Exa: a tag;"
        " Claude: credit_balance, usage_limits, billing, retired_model, thinking or a text",
        (CONTACTOUT, EXA, CLAUDE),
    ),
    Kind.UNPRICED: About("an answer that does not say its cost", sources=(EXA, CLAUDE)),
    Kind.SAMPLE: About("sample data, as for a key without the plan", sources=(CONTACTOUT,)),
    Kind.UNREACHABLE_PERSON: About("a profile without e-mail and phone", sources=(CONTACTOUT,)),
    Kind.CAMEL_CASE: About("the other spelling of all fields: workEmail", sources=(CONTACTOUT,)),
    Kind.ADDED_TO_NAME: About(
        "a name with pronouns and credentials",
        "what follows the name, (She/Her), RN, BSN if not given",
        (CONTACTOUT,),
    ),
    Kind.INJECTION: About(
        "a page gives orders to a model", "the id of a text, all if not given", (EXA,)
    ),
    Kind.OBEDIENT: About(
        "a naive model obeys what it finds in the facts",
        "the id of a text that it obeys even unseen",
        (CLAUDE,),
    ),
    Kind.UNCITED: About("a sentence cites a fact that is none", sources=(CLAUDE,)),
    Kind.WRONG_NUMBER: About("a sentence changes a number", sources=(CLAUDE,)),
    Kind.STOP: About("the message ends early", "its stop_reason", (CLAUDE,)),
    Kind.BOMB: About("a filing whose entities unfold without end", sources=(SEC,)),
    Kind.EXTERNAL_ENTITY: About("a filing that reads a file of its reader", sources=(SEC,)),
    Kind.ODD_FILING: About(
        "a filing has what real ones have wrong", f"one of {', '.join(odd_filing.NAMES)}", (SEC,)
    ),
    Kind.BLOCKED: About(
        "EDGAR's page for undeclared tools", "the status, 403 if not given", (SEC,)
    ),
}


class Fault(BaseModel):
    """A fault that was ordered; it is gone after `times` calls.

    `about` is a part of whom the call is about (for the SEC the company's number), `path` a part
    of the address; empty fits every call.
    """

    model_config = ConfigDict(extra="forbid")

    source: str
    kind: Kind
    value: str | float | int | None = None
    times: int = Field(1, ge=1)
    about: str = ""
    path: str = ""

    @model_validator(mode="after")
    def _makes_sense(self) -> Fault:
        if self.source not in KINDS[self.kind].sources:
            raise ValueError(f"{self.kind} is no fault of {self.source or 'no source'}")
        if self.kind is Kind.ODD_JSON and self.value not in NAMES:
            raise ValueError(f"{self.value} is none of {', '.join(NAMES)}")
        return self

    def fits(self, source: str, about: str, path: str) -> bool:
        """Return whether a call gets this fault."""
        named = not self.about or (
            about == self.about if source == SEC else self.about.casefold() in about.casefold()
        )
        return self.source == source and named and self.path in path


def catalogue() -> list[dict[str, Any]]:
    """Return the table as JSON shows it."""
    return [
        {
            "kind": kind.value,
            "sources": about.sources,
            "meaning": about.meaning,
            "value": about.value,
        }
        for kind, about in KINDS.items()
    ]


def ordered(request: Request, kind: Kind) -> Fault | None:
    """Return the fault that this request gets, where it is of that kind."""
    fault = request.scope.get("fault")
    return fault if isinstance(fault, Fault) and fault.kind is kind else None
