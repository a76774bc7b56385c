"""What people and directories add to a name: a suffix, degrees and credentials, pronouns.

A suffix tells a son from his father and is part of the name; the rest says nothing of who it is.
"""

from __future__ import annotations

import re

SUFFIXES = frozenset({"jr", "sr", "ii", "iii", "iv"})
DEGREES = frozenset({"phd", "md", "jd", "mba", "cpa", "cfa", "esq", "dds", "dvm"})
_CREDENTIALS = """
aprn ba bba beng bs bsc bsn ccim cebs cfe cfp cgma chrp cipd cisa cism cissp clu cma cphr csm csp
dnp dpt edd facs fache fcca gphr lcsw leed llb llm ma mbbs meng mfa mha mpa mph ms msc msn np pe
pharmd pgmp pmp phr psyd rn safe shrm shrmcp shrmscp sphr
"""
_ADDED_WORDS = DEGREES | frozenset(_CREDENTIALS.split()) | {""}
_BRACKETS = re.compile(r"[(\[{\uff08\u3010][^)\]}\uff09\u3011]*[)\]}\uff09\u3011]")
_PRONOUNS = re.compile(
    r"\b(?:she|he|they|ze|xe|any|ella|él|elle|il|sie|er)(?:\s*/\s*\w+)+", re.IGNORECASE
)
# Where something added begins: at a comma, a bar, a dot in the middle, a dash between spaces.
_SEPARATOR = re.compile(r"[,|;\u2022\u00b7]|\s[-\u2013\u2014]+\s")
_LETTERS = re.compile(r"[^\W\d_]+")


def forms_of(name: str) -> tuple[str, ...]:
    """Return a name as it is, without pronouns, and without all that is added to it.

    "Adams, Katherine" is a name turned round, "Jane Roe, PMP" is not: so where two words or more
    stand before the comma, the name may also end there, but for a suffix.
    """
    bare = _PRONOUNS.sub(" ", _BRACKETS.sub(" ", name))
    before, *added = _SEPARATOR.split(bare)
    words = before.split()
    while len(words) > 2 and "".join(_LETTERS.findall(words[-1])).lower() in _ADDED_WORDS:
        words.pop()
    if len(words) < 2:
        return name, bare
    suffixes = [each for each in _LETTERS.findall(" ".join(added)) if each.lower() in SUFFIXES]
    return name, bare, " ".join((*words, *suffixes))
