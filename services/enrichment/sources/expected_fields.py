"""Which fields each client reads in its vendor's answers, and whether an answer still has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.enrichment.sources.catalogue import SourceName

TEXT, NUMBER, LIST, OBJECT = (str,), (int, float), (list,), (dict,)
TEXTS = (str, list)
_NAMES = {str: "text", bool: "yes or no", int: "number", float: "number", list: "list"}


@dataclass(frozen=True, slots=True)
class Field:
    """A field of an answer: `a.b[].c` is the field c of each object in the list b of a.

    Without one that is needed the client cannot do its work.
    """

    path: str
    kinds: tuple[type, ...]
    is_needed: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """The fields that a client reads, and in `unread` those that it knows and passes over.

    `any_spelling` says that work_email and workEmail are one field.
    """

    fields: Sequence[Field]
    unread: str = ""
    any_spelling: bool = False


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a field came: `fits`, `absent` or `changed`, and in which form."""

    field: Field
    state: str
    came: str = ""

    @property
    def is_drift(self) -> bool:
        """Whether the client no longer reads what it used to."""
        return self.state == "changed" or (self.state == "absent" and self.field.is_needed)


@dataclass(frozen=True, slots=True)
class Compared:
    """An answer beside its shape; `new` are the fields that no client of ours knows."""

    fields: Sequence[Comparison] = field(default_factory=tuple)
    new: Sequence[str] = field(default_factory=tuple)


SHAPES: Mapping[SourceName, Shape] = {
    SourceName.CONTACTOUT: Shape(
        (
            Field("status_code", (int, str)),
            Field("profile", OBJECT, is_needed=True),
            Field("profile.full_name", TEXT, is_needed=True),
            Field("profile.headline", TEXT),
            Field("profile.company", (dict, str)),
            Field("profile.email", TEXTS),
            Field("profile.work_email", TEXTS),
            Field("profile.personal_email", TEXTS),
            Field("profile.phone", TEXTS),
        ),
        unread="message url linkedin_url work_email_status personal_email_status github twitter"
        " industry location country experience education skills followers work_status updated_at"
        " confidence_level alt_matches certifications publications projects languages seniority"
        " job_function profile_picture_url summary",
        any_spelling=True,
    ),
    SourceName.EXA: Shape(
        (
            Field("requestId", TEXT),
            Field("results", LIST, is_needed=True),
            Field("results[].url", TEXT, is_needed=True),
            Field("results[].title", TEXT),
            Field("results[].publishedDate", TEXT),
            Field("results[].author", TEXT),
            Field("results[].text", TEXT, is_needed=True),
            Field("costDollars", OBJECT, is_needed=True),
            Field("costDollars.total", (int, float, str), is_needed=True),
        ),
        unread="autopromptString resolvedSearchType searchType searchTime context statuses output"
        " search contents breakDown perRequestPrices perPagePrices id score image favicon"
        " highlights highlightScores summary subpages extras entities",
    ),
    SourceName.SEC: Shape(
        (
            Field("insiderTransactionForIssuerExists", NUMBER),
            Field("filings", OBJECT, is_needed=True),
            Field("filings.recent", OBJECT, is_needed=True),
            Field("filings.recent.accessionNumber", LIST, is_needed=True),
            Field("filings.recent.form", LIST, is_needed=True),
            Field("filings.recent.filingDate", LIST, is_needed=True),
            Field("filings.recent.primaryDocument", LIST, is_needed=True),
            Field("filings.files", LIST),
        ),
        unread="cik entityType sic sicDescription ownerOrg insiderTransactionForOwnerExists name"
        " tickers exchanges ein lei description website investorWebsite category fiscalYearEnd"
        " stateOfIncorporation stateOfIncorporationDescription addresses phone flags formerNames"
        " reportDate acceptanceDateTime act fileNumber filmNumber items core_type size isXBRL"
        " isInlineXBRL isXBRLNumeric primaryDocDescription",
    ),
    SourceName.CLAUDE: Shape(
        (
            Field("model", TEXT),
            Field("stop_reason", TEXT, is_needed=True),
            Field("content", LIST, is_needed=True),
            Field("content[].type", TEXT, is_needed=True),
            Field("content[].text", TEXT),
            Field("usage", OBJECT, is_needed=True),
            Field("usage.input_tokens", NUMBER, is_needed=True),
            Field("usage.output_tokens", NUMBER, is_needed=True),
            Field("usage.cache_creation_input_tokens", NUMBER),
            Field("usage.cache_read_input_tokens", NUMBER),
        ),
        unread="id type role stop_sequence stop_details container context_management thinking"
        " signature citations cache_creation output_tokens_details server_tool_use service_tier"
        " inference_geo",
    ),
}


def compare(source: SourceName, answer: Mapping[str, Any]) -> Compared:
    """Put an answer beside what the source's client reads."""
    shape = SHAPES[source]
    return Compared([_compared(each, answer, shape) for each in shape.fields], _new(shape, answer))


def _compared(wanted: Field, answer: Mapping[str, Any], shape: Shape) -> Comparison:
    parents, name = _parents(wanted.path, answer, shape)
    values = [_value(parent, name, shape) for parent in parents]
    there = [value for value in values if value is not None]
    if odd := [value for value in there if not _is_of(value, wanted.kinds)]:
        return Comparison(wanted, "changed", _form(odd[0]))
    if not there:
        return Comparison(wanted, "absent")
    some = f", in {len(there)} of {len(values)}" if len(there) < len(values) else ""
    return Comparison(wanted, "fits", f"{_form(there[0])}{some}")


def _new(shape: Shape, answer: Mapping[str, Any]) -> list[str]:
    """Return the fields of the objects that the client looks into, and that it does not know."""
    known = {_name(each, shape) for each in shape.unread.split()}
    known |= {_name(each.path.rpartition(".")[2], shape) for each in shape.fields}
    found: dict[str, None] = {}
    for folder in dict.fromkeys(each.path.rpartition(".")[0] for each in shape.fields):
        for parent in _parents(f"{folder}.*" if folder else "*", answer, shape)[0]:
            names = (key for key in parent if _name(key, shape) not in known)
            found |= dict.fromkeys(f"{folder}.{key}".lstrip(".") for key in names)
    return list(found)


def _parents(
    path: str, answer: Mapping[str, Any], shape: Shape
) -> tuple[list[Mapping[str, Any]], str]:
    """Return the objects that may have the field at `path`, and the field's name in them."""
    *folders, name = path.split(".")
    parents: list[Mapping[str, Any]] = [answer]
    for folder in folders:
        values = (_value(parent, folder.removesuffix("[]"), shape) for parent in parents)
        parents = [each for value in values for each in _objects(value)]
    return parents, name


def _objects(value: Any) -> Iterator[Mapping[str, Any]]:
    yield from (
        each for each in (value if isinstance(value, list) else [value]) if type(each) is dict
    )


def _value(parent: Mapping[str, Any], name: str, shape: Shape) -> Any:
    if not shape.any_spelling:
        return parent.get(name)
    wanted = _name(name, shape)
    found = (value for key, value in parent.items() if _name(key, shape) == wanted)
    return next((value for value in found if value is not None), None)


def _name(key: str, shape: Shape) -> str:
    return key.replace("_", "").casefold() if shape.any_spelling else key


def _is_of(value: Any, kinds: tuple[type, ...]) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)


def _form(value: Any) -> str:
    return _NAMES.get(type(value), "object")
