"""Was a transaction made under a Rule 10b5-1 plan? Pure.

Forms 4 and 5 ask since 2023 to tick a box if "a transaction" was made under such a plan, and to
tell the day of its adoption among the explanations: the box does not say which transaction. So a
row is planned where its own footnotes say so, or remarks that speak of its kind or of all. The box
alone speaks for purchases and sales, and only where the filing has nothing else. A plan that is
denied, or told of because it ended, is none.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum

from services.enrichment.sources.edgar.form import (
    MARKET_TRADES,
    OwnershipDocument,
    Transaction,
    notes_of,
)

_RULE = r"10 ?-? ?\(?b\)? ?-? ?\(?5\)? ?[-.]? ?\(?1\)?(?![\d])"
_PLAN_NOUN = r"(?:plans?|programs?|arrangements?|instructions?|agreements?|contracts?)"
# From the noun on where that stands first: "a plan adopted in accordance with Rule 10b5-1".
_MENTION = re.compile(rf"(?:\b{_PLAN_NOUN}\b[^.;,]{{0,90}}?)?\b{_RULE}", re.IGNORECASE)
_NEGATION = (
    r"(?:no|not|never|neither|nor|none|without|outside|except|other than|rather than|instead of"
    r"|in addition to|unrelated to|separate from|independent(?:ly)? of)"
)
_UNDER = (
    r"(?:pursuant to|under|in accordance with|accordance with|according to|in connection with"
    r"|in compliance with|in reliance (?:on|upon)|(?:as )?part of|through|by means of|subject to"
    r"|covered by|required by|consistent with|dictated by|per|using|via)"
)
# "not aware of material information", "does not have discretion": that denies no plan.
_KNOWING = (
    r"(?! (?:\w+ ){0,2}?(?:aware|possess\w*|knowing|control|discretion|influence|exercise any)\b)"
)
_DENIED_BEFORE = re.compile(rf"(?:\b{_NEGATION}\b|n't\b){_KNOWING}[^.;,]{{0,80}}$", re.IGNORECASE)
_DENIED_AFTER = re.compile(
    rf"^(?:(?!\b(?:that|which|who)\b)[^.;,]){{0,40}}"
    rf"(?:\b(?:not|never|no longer)\b{_KNOWING}|: ?(?:no|none|n/?a)\b)",
    re.IGNORECASE,
)
_DENIED_LATER = re.compile(
    rf"\b{_NEGATION}\b{_KNOWING}[^.;]{{0,60}}\b{_UNDER} (?:the|that|this|such|any|said)"
    rf" (?:\w+ ){{0,2}}{_PLAN_NOUN}\b",
    re.IGNORECASE,
)
# "He adopted a plan under Rule 10b5-1. The sale was made under that plan."
_MADE_LATER = re.compile(
    rf"\b{_UNDER} (?:the|that|this|such|said|his|her) (?:trading |10b5-1 |rule 10b5-1 ){{0,2}}"
    rf"{_PLAN_NOUN}\b",
    re.IGNORECASE,
)
_MADE_BY_IT = re.compile(
    r"^[^.;]{0,120}\b(?:pursuant to|under|in accordance with) which\b|\bthereunder\b", re.IGNORECASE
)
_MADE_UNDER = re.compile(rf"\b{_UNDER}\b[^.;]{{0,80}}$", re.IGNORECASE)
_ENDED = re.compile(
    r"\b(?:terminat|cancel|expir|revo[ck]|discontinu|suspen|laps|ceas|withdr[ae]w)",
    re.IGNORECASE,
)
_NOT_YET = re.compile(
    r"\b(?:will|intends?|expects?|plans? to|future|new|subsequent(?:ly)?)\b", re.IGNORECASE
)
_ADOPTED = re.compile(
    r"\b(?:adopt(?:ed|s)|entered into|establish(?:ed|es)|put in place|set up)\b[^.;]{0,80}$",
    re.IGNORECASE,
)
_OF_ALL = re.compile(
    r"\b(?:all|each|every)\b|\b(?:reported|described|disclosed|set forth) (?:\w+ ){0,2}"
    r"(?:herein|(?:this|the) (?:\w+ )?(?:form|statement|report|filing))",
    re.IGNORECASE,
)
_NAME_OF_PLAN = re.compile(
    r"\b(?:purchas(?:e|ing)|sales?|sell(?:ing)?|buy(?:ing)?|trading|exercise)\b"
    rf"(?= (?:and \w+ )?(?:stock )?{_PLAN_NOUN}\b)",
    re.IGNORECASE,
)
_KIND_WORDS: Mapping[str, re.Pattern[str]] = {
    codes: re.compile(rf"\b(?:{words})", re.IGNORECASE)
    for codes, words in {
        "S": r"sales?\b|sold\b|sell|dispos",
        "P": r"purchas|bought\b|buy",
        "MXOCEH": r"exercis|conver(?:sion|t)",
        "G": r"gift|donat",
        "FD": r"withh[eo]ld",
        "A": r"grant|award|vest",
    }.items()
}
_DASHES = re.compile("[\u00ad\u2043\u2212]")
_SENTENCE = re.compile(r"(?<=[.;!?]) +")


class _Said(Enum):
    NOTHING = 0
    PLANNED = 1
    DENIED = 2


def is_planned(document: OwnershipDocument, transaction: Transaction) -> bool:
    """Tell whether the filing says that this transaction was planned under Rule 10b5-1."""
    own = _of_row(document, transaction)
    if own is not _Said.NOTHING:
        return own is _Said.PLANNED
    others = document.transactions
    if not document.under_10b5_1 or {each.code for each in others} != {transaction.code}:
        return False
    told = any(_of_row(document, each) is not _Said.NOTHING for each in others)
    return transaction.code in MARKET_TRADES and not told


def _of_row(document: OwnershipDocument, row: Transaction) -> _Said:
    """Return what the row's own notes say of it; where they say nothing, what the remarks say."""
    own = notes_of(document, row)
    said = _all_that_is_said(document, row.code, own)
    if said is _Said.NOTHING:
        others = (note for note in _of_filing(document) if note not in own)
        said = _all_that_is_said(document, row.code, others)
    return said


def _of_filing(document: OwnershipDocument) -> Iterator[str]:
    """Yield the remarks, the notes that belong to no row, and those that speak of all rows."""
    yield document.remarks
    of_rows = {name for row in document.transactions for name in row.footnote_ids}
    of_rows |= {name for row in document.holdings for name in row.footnote_ids}
    for name, note in document.footnotes.items():
        if name not in of_rows or _OF_ALL.search(note):
            yield note


def _all_that_is_said(document: OwnershipDocument, code: str, texts: Iterable[str]) -> _Said:
    box = document.under_10b5_1 or False
    said = [_said(text, code, box=box) for text in texts]
    return max(said, key=lambda each: each.value, default=_Said.NOTHING)


def _said(text: str, code: str, *, box: bool) -> _Said:
    """Return what a text says of a row with this code; a denial outweighs."""
    plain = _plain(text)
    if not _MENTION.search(plain):
        return _Said.NOTHING
    said = [
        _sentence(sentence, box=box)
        for sentence in _SENTENCE.split(plain)
        if _speaks_of(sentence, code)
    ]
    return max(said, key=lambda each: each.value, default=_Said.NOTHING)


def _sentence(sentence: str, *, box: bool) -> _Said:
    mention = _MENTION.search(sentence)
    before = sentence[: mention.start()] if mention else ""
    after = sentence[mention.end() :] if mention else ""
    is_made_under = _MADE_UNDER.search(before)
    if (
        _DENIED_LATER.search(sentence)
        or _DENIED_BEFORE.search(before)
        or _DENIED_AFTER.search(after)
        or (mention and _ENDED.search(sentence) and not is_made_under)
    ):
        return _Said.DENIED
    if mention is None:
        return _Said.PLANNED if _MADE_LATER.search(sentence) else _Said.NOTHING
    is_of_later = _NOT_YET.search(sentence) or (_ADOPTED.search(before) and not box)
    is_made = is_made_under or _MADE_BY_IT.search(after)
    return _Said.NOTHING if is_of_later and not is_made else _Said.PLANNED


def _speaks_of(sentence: str, code: str) -> bool:
    """Whether a sentence speaks of this kind of row, or of no kind in particular."""
    subject = _NAME_OF_PLAN.sub("", sentence)
    kinds = [codes for codes, words in _KIND_WORDS.items() if words.search(subject)]
    return not (kinds and code) or any(code in codes for codes in kinds)


def _plain(text: str) -> str:
    """Return a text with every dash as a hyphen and every space as one."""
    dashed = "".join(
        "-" if unicodedata.category(char) == "Pd" else char for char in _DASHES.sub("-", text)
    )
    return " ".join(dashed.split())
