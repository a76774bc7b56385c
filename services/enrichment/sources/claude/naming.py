"""Who does what to whom, as far as the order of names and the words before them tell it; pure.

"Ridge from Globex" is not "Globex from Ridge", and who buys is not who is bought. A passive ("by
Acme") and a quotation ("said Jane Doe", "Jane Doe said") put the one who acts last: such a name
counts as the first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from services.enrichment.sources.claude.wording import OF_THE_PAGE, SMALL, WORD, folded

_MUST_STAND = frozenset({"from", "against", "over", "than"})
_MUST_STAY = _MUST_STAND | {"to"}
_PLACES = _MUST_STAY | {"of", "at", "in", "for", "with", "on", "under", "into", "between"}
_SPEAKS = frozenset({"said", "says", "added", "adds", "told", "according"})
_SPOKEN = re.compile(rf" (?:{'|'.join(sorted(_SPEAKS))})\b")
_FIRST = 0
_OWN = re.compile(r"['\u2019]s?$")
BARE = ""


@dataclass(frozen=True, slots=True)
class _Name:
    """A name's word: `run` numbers the whole name that it is of, in the order of acting."""

    run: int
    role: str


def is_told_otherwise(text: str, source: str) -> bool:
    """Whether names that stand in both change places."""
    ours = _names(text)
    theirs = _names(source)
    common = ours.keys() & theirs.keys()
    return any(_moves(ours[name], theirs[name]) for name in common) or any(
        _swap(ours, theirs, one, other) for one, other in combinations(sorted(common), 2)
    )


def _moves(ours: _Name, theirs: _Name) -> bool:
    lost = theirs.role in _MUST_STAY and ours.role != theirs.role
    return lost or (ours.role in _MUST_STAND and ours.role != theirs.role)


def _swap(ours: Mapping[str, _Name], theirs: Mapping[str, _Name], one: str, other: str) -> bool:
    a, b, c, d = ours[one], ours[other], theirs[one], theirs[other]
    if a.run == b.run or c.run == d.run:
        return False
    if a.role == b.role == c.role == d.role == BARE:
        return (a.run < b.run) != (c.run < d.run)
    return a.role == d.role != c.role and b.role == c.role


def _names(text: str) -> dict[str, _Name]:
    """Return the words of names by where they first stand."""
    found = list(WORD.finditer(text))
    names: dict[str, _Name] = {}
    run, role, end = _FIRST, BARE, -1
    for at, each in enumerate(found):
        if not _is_name(each[0]):
            continue
        if end < 0 or text[end : each.start()] != " ":
            run, role = _place(text, found, at)
        if _OWN.search(each[0]):
            role = "of"
        names.setdefault(folded(each[0]), _Name(run, role))
        end = each.end()
    return names


def _is_name(written: str) -> bool:
    word = folded(written)
    return written[:1].isupper() and word not in SMALL and word not in OF_THE_PAGE


def _place(text: str, found: Sequence[re.Match[str]], at: int) -> tuple[int, str]:
    """Return where a name stands in the order of acting, and as what, by the words around it."""
    before = folded(found[at - 1][0]) if at else ""
    end = found[at].end()
    for each in found[at + 1 :]:
        if not _is_name(each[0]) or text[end : each.start()] != " ":
            break
        end = each.end()
    spoken = _SPOKEN.match(text, end) is not None
    if spoken or before == "by" or before in _SPEAKS:
        return _FIRST, BARE
    return at + 1, before if before in _PLACES else BARE
