"""A person is matched to a reporting owner in EDGAR's spelling, and to nobody else."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from services.enrichment.sources.name_additions import SUFFIXES
from services.enrichment.sources.person_names import match_owner, match_person

SAME = [
    ("Katherine Adams", "Adams Katherine L."),
    ("Katherine L. Adams", "ADAMS KATHERINE L"),
    ("katherine adams", "ADAMS KATHERINE"),
    ("Adams, Katherine L.", "Adams Katherine L."),
    ("Warren E. Buffett", "BUFFETT WARREN E"),
    ("Warren Edward Buffett", "BUFFETT WARREN E"),
    ("John Smith Jr.", "SMITH JR JOHN A"),
    ("John A. Smith, Jr.", "SMITH JOHN A JR"),
    ("John Smith III", "SMITH III JOHN"),
    ("José Núñez", "NUNEZ JOSE"),
    ("Conan O\u2019Brien", "OBRIEN CONAN"),
    ("Conan O'Brien", "O BRIEN CONAN"),
    ("Ludwig van Beethoven", "VAN BEETHOVEN LUDWIG"),
    ("Ludwig Van Beethoven", "VANBEETHOVEN LUDWIG"),
    ("Mark Smith-Jones", "SMITH JONES MARK"),
    ("Jean-Luc Picard", "PICARD JEAN LUC"),
    ("Dr. Lisa Su, Ph.D.", "SU LISA T"),
    ("Vinayak Hegde", "Hegde Vinayak"),
    ("Katherine Adams", "Adams Katherine L. /ADV"),
    ("Marie Co", "CO MARIE"),
    ("Nadia Brock", "Nadia Brock"),
    ("J\u00fcrgen M\u00fcller", "MUELLER JUERGEN"),
    ("J\u00fcrgen M\u00fcller", "MULLER JURGEN"),
    ("J\u00fcrgen M\u00fcller", "MULLER JUERGEN"),
    ("Ju\u0308rgen Mu\u0308ller", "MUELLER JUERGEN"),
    ("Juergen Mueller", "M\u00fcller J\u00fcrgen"),
    ("S\u00f8ren B\u00e5k", "BAAK SOEREN"),
]
LESS_SURE = [
    ("Kent Walden", "WALDEN JOHN KENT"),
    ("Howell Pratt", "Pratt R. Howell"),
    ("R. Howell Pratt", "Pratt R. Howell"),
    ("J. Kent Walden", "WALDEN JOHN KENT"),
    ("Stuart Doll", "Doll R Stuart"),
    ("Ravi Shankaran", "SHANKARAN KAVIT RAVI"),
    ("Katherine Adams", "ADAMS L KATHERINE"),
    ("Art Lindholm", "LINDHOLM ARTHUR D"),
    ("Kathy Rummel", "Rummel Kathryn H."),
    ("Al Dorn", "DORN ALBERT A JR"),
    ("Rob Dorn", "DORN ROBERT"),
    ("Bob Dorn", "DORN ROB"),
    ("Debbie Shore", "Shore Debora"),
    ("Hank Porter", "PORTER HENRY M JR"),
]
OTHERS = [
    ("Katherine Adams", "ADAMS KAREN"),
    ("Katherine Adams", "ADAMSON KATHERINE"),
    ("Katherine A. Adams", "ADAMS KATHERINE L"),
    ("John Smith Jr.", "SMITH JOHN SR"),
    ("Kim Lee", "KIM LEE"),
    ("James Thomas", "JAMES THOMAS"),
    ("Adams", "ADAMS KATHERINE"),
    ("", "ADAMS KATHERINE"),
    ("Katherine Adams", ""),
    ("Jill Doe", "Doe-Roe Jill"),
    ("Mary Callan Erd", "Erd Mary E."),
    ("Donald F. Robson Sr.", "Robson Donald F Jr"),
    ("Mark B. Stevens", "STEVENS MARK A"),
    ("Nadia Brock", "Boris Brock"),
    ("Paul Scott", "PAUL SCOTT"),
    ("Karen Muller", "MUELLER KAREN"),
]
COMPANIES = [
    "BERKSHIRE HATHAWAY INC",
    "SMITH JOHN TRUST",
    "SMITH JOHN LLC",
    "SMITH JOHN FAMILY FOUNDATION",
    "SMITH JOHN & MARY",
    "SMITH JOHN CAPITAL PARTNERS L P",
]


@pytest.mark.parametrize(("person", "owner"), SAME)
def test_one_person_in_two_spellings_matches(person: str, owner: str) -> None:
    match = match_owner(person, owner)
    assert match is not None
    assert match.confidence >= 0.9


@pytest.mark.parametrize(("person", "owner"), LESS_SURE)
def test_another_name_of_the_same_person_matches_with_less_confidence(
    person: str, owner: str
) -> None:
    match = match_owner(person, owner)
    assert match is not None
    assert 0.6 < match.confidence < 0.9


@pytest.mark.parametrize(("person", "owner"), OTHERS)
def test_another_person_does_not_match(person: str, owner: str) -> None:
    assert match_owner(person, owner) is None


@pytest.mark.parametrize("owner", COMPANIES)
def test_a_company_is_no_person(owner: str) -> None:
    assert match_owner("John Smith", owner) is None


@pytest.mark.parametrize(
    ("person", "owner"), [("Katherine Adams", "ADAMS K L"), ("K. Adams", "ADAMS KATHERINE")]
)
def test_an_initial_matches_with_less_confidence(person: str, owner: str) -> None:
    match = match_owner(person, owner)
    assert match is not None
    assert 0 < match.confidence <= 0.6


def test_a_short_form_matches_with_less_confidence() -> None:
    match = match_owner("Tim Cook", "COOK TIMOTHY D")
    assert match is not None
    assert 0.6 < match.confidence < 0.9


def test_a_match_says_why() -> None:
    match = match_owner("Katherine Adams", "Adams Katherine L.")
    assert match is not None
    assert match.reason == "same first and last name, middle name on one side"


# Names of letters that are neither a title, a degree, a suffix nor a word of companies.
words = st.text("BCDFGHJKLMNPQRSTVWXZ", min_size=4, max_size=9).map(lambda word: f"{word}UO")
initials = st.sampled_from("ABCDEFGHJKLMNOPQRSTUWXYZ")


@given(words, words, initials)
def test_any_name_matches_its_edgar_form(first: str, last: str, middle: str) -> None:
    match = match_owner(f"{first.title()} {middle}. {last.title()}", f"{last} {first} {middle}")
    assert match is not None
    assert match.confidence == 1.0


@given(words, words, st.sampled_from(sorted(SUFFIXES)))
def test_any_suffix_may_follow_the_last_name(first: str, last: str, suffix: str) -> None:
    assert match_owner(f"{first} {last}, {suffix}", f"{last} {suffix.upper()} {first}") is not None


@given(words, words, words)
def test_no_other_first_name_matches(first: str, other: str, last: str) -> None:
    assume(first != other)
    assert match_owner(f"{first} {last}", f"{last} {other}") is None


@given(words, words, words)
def test_no_other_last_name_matches(first: str, last: str, other: str) -> None:
    assume(last != other)
    assert match_owner(f"{first} {last}", f"{other} {first}") is None


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_text_is_answered(person: str, owner: str) -> None:
    match = match_owner(person, owner)
    assert match is None or 0 < match.confidence <= 1


# --- two names in natural order -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Katherine Adams", "Katherine L. Adams"),
        ("Kate Adams", "Katherine Adams"),
        ("José Núñez", "Jose Nunez"),
        ("Adams, Katherine", "Katherine Adams"),
        ("Ludwig van Beethoven", "Ludwig Van Beethoven"),
        ("Dr. Jane Doe, PhD", "Jane Doe"),
        ("J. Doe", "Jane Doe"),
        ("Kent Walden", "John Kent Walden"),
        ("J\u00fcrgen M\u00fcller", "Juergen Mueller"),
        ("Jane D.", "Jane Doe"),
        ("Jane Doe (She/Her)", "Jane Doe"),
        ("Jane Doe (they / them) \U0001f680", "Jane Doe"),
        ("Jane Doe she/her", "Jane Doe"),
        ("Doe, Jane (She/Her)", "Jane Doe"),
        ("Jane Doe\u3010she\u3011", "Jane Doe"),
        ("Jane Doe, PMP", "Jane Doe"),
        ("Jane Doe, RN, BSN", "Jane Doe"),
        ("Jane Doe, P.E.", "Jane Doe"),
        ("Jane Doe, CPA, CGMA", "Jane Doe"),
        ("Jane Doe, SHRM-CP", "Jane Doe"),
        ("Jane A. Doe, MBA (She/Her), CSM\u00ae", "Jane Doe"),
        ("Jane Doe RN BSN", "Jane Doe"),
        ("Jane Doe \u2022 B.Sc., CFA", "Jane Doe"),
        ("Jane Doe | PMP", "Jane Doe"),
        ("Jane Doe \u2013 CFO", "Jane Doe"),
        ("JANE DOE, LCSW", "Jane Doe"),
        ("Doe, Jane, Jr., PMP", "Jane Doe Jr."),
        ("John Doe, Jr., PMP", "John Doe Jr."),
        ("Jack Ma", "Jack Ma, MBA"),
    ],
)
def test_two_spellings_of_a_person_match(one: str, other: str) -> None:
    assert match_person(one, other)
    assert match_person(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Katherine Adams", "Karen Adams"),
        ("Katherine Adams", "Katherine Adamson"),
        ("Katherine Mary Adams", "Katherine Louise Adams"),
        ("John Doe Jr.", "John Doe Sr."),
        ("Katherine", "Katherine Adams"),
        ("", "Katherine Adams"),
        ("Adams Katherine", "Katherine Adams"),
        ("Katherine B.", "Katherine Adams"),
        ("Karen A.", "Katherine Adams"),
        ("K. A.", "Katherine Adams"),
        ("John Doe, Sr., PMP", "John Doe Jr."),
        ("Katherine Adams, PMP", "Karen Adams"),
        ("Jack Ma", "Jack Smith, MA"),
        ("Mary Smith, Katherine Adams", "Katherine Adams"),
    ],
)
def test_two_people_do_not_match(one: str, other: str) -> None:
    assert match_person(one, other) is None
