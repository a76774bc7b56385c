"""Words with a second meaning, once replaced, do not come back (docs/glossary.md)."""

from __future__ import annotations

import re

import pytest

from devstack.stack import ROOT

ANYWHERE = ("chassis", "services", "devstack")
RUNS = ("services/enrichment",)
REPLACED = [
    (r"\bfair[ _-]turns?\b", ANYWHERE, "fair queueing: a turn is one move of a run"),
    (r"(?i)\bclaim(s|ed|ing)?\b(?!')", RUNS, "lease: a claim is a JWT's"),
    (r"\bSubject\b", RUNS, "Person: a subject is NATS's"),
    (r"\b(MOST|LONGEST|LARGEST|LEAST|SHORTEST|SMALLEST)_[A-Z]", ANYWHERE, "MAX_ or MIN_"),
    (
        r"(?i)\bsettled (run|call|step|attempt)|\b(run|call|step|attempt)s? \w+ settled\b",
        RUNS,
        "ended: what is settled is a reservation",
    ),
    (
        r"\bkey\.digest\b|\brow\[.digest.\]",
        RUNS,
        "keyed_hash or content_hash: a digest is a sum of hashes",
    ),
    (
        r"(?i)\b[a-z]+\.place\b|\bplace in (a|the|its) (tree|stream)\b|from place \$",
        (*ANYWHERE[:1], "services/activity", "services/metrics"),
        "index, sequence or period: a place is an entry's or a request's in its batch",
    ),
    (r"\btenant in the token\b", ANYWHERE, "the caller's tenant: there are tokens of five kinds"),
]


@pytest.mark.parametrize(("word", "folders", "instead"), REPLACED)
def test_a_word_that_was_replaced_does_not_come_back(
    word: str, folders: tuple[str, ...], instead: str
) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in {".py", ".sql"} and "migrations" not in path.parts
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if re.search(word, line)
    ]
    assert found == [], f"say {instead}"
