"""What identifies a person: addresses as people have them, in one form."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prospect.enrichment.v1 import enrichment_service_pb2 as pb
from prospect.enrichment.v1 import events_pb2

from chassis.validation import violations_of
from services.enrichment.sources.identity import (
    MAX_NORMALISED,
    folded,
    mailbox,
    plain,
    profile_address,
    profile_slug,
)

USUAL = "https://www.linkedin.com/in/ada-l"
SPELLINGS = [
    "https://www.linkedin.com/in/ada-l",
    "http://www.linkedin.com/in/ada-l",
    "www.linkedin.com/in/ada-l",
    "linkedin.com/in/ada-l",
    "HTTPS://WWW.LINKEDIN.COM/IN/ADA-L",
    "https://de.linkedin.com/in/ada-l/",
    "https://uk.linkedin.com/in/Ada-L?originalSubdomain=uk",
    "https://www.linkedin.com/in/ada-l/en",
    "https://www.linkedin.com/in/ada-l/details/experience/#1",
    "https://m.linkedin.com/mwlite/in/ada-l",
    " https://www.linkedin.com:443/in/ada%2Dl\n",
]
NO_PROFILES = [
    "https://www.linkedin.com/company/engines",
    "https://www.linkedin.com/in/",
    "https://www.linkedin.com/in/?x",
    "https://linkedin.com.example/in/ada",
    "ada",
]


@pytest.mark.parametrize("address", SPELLINGS)
def test_an_address_of_a_profile_has_one_usual_form(address: str) -> None:
    assert profile_address(address) == USUAL
    assert profile_slug(address) == "ada-l"


@pytest.mark.parametrize(
    ("address", "usual"),
    [
        ("linkedin.com/in/zoë", "https://www.linkedin.com/in/zo%C3%AB"),
        ("linkedin.com/in/zo%c3%ab", "https://www.linkedin.com/in/zo%C3%AB"),
        ("linkedin.com/in/zo%eb", "https://www.linkedin.com/in/zo%eb"),
        ("LinkedIn.com/pub/Ada-L/1/2A/3b", "https://www.linkedin.com/pub/ada-l/1/2a/3b"),
        ("linkedin.com/in/ACoAABcDeF", "https://www.linkedin.com/in/ACoAABcDeF"),
    ],
)
def test_the_letters_that_identify_a_profile_are_kept(address: str, usual: str) -> None:
    assert profile_address(address) == usual


@pytest.mark.parametrize("address", NO_PROFILES)
def test_what_is_no_profile_stays_as_it_is(address: str) -> None:
    assert (profile_address(address), profile_slug(address)) == (address, "")


@given(st.text(min_size=1, max_size=30))
def test_the_usual_form_is_its_own_usual_form_and_the_same_profile(name: str) -> None:
    usual = profile_address(f"linkedin.com/in/{name}")
    assert profile_address(usual) == usual
    assert profile_slug(usual) == profile_slug(f"linkedin.com/in/{name}")


def messages(address: str) -> list[Any]:
    ids: dict[str, Any] = dict.fromkeys(("prospect_id", "tenant_id", "user_id"), str(uuid.uuid4()))
    who: dict[str, Any] = {"name": "Ada", "company": "Engines", "linkedin_url": address}
    return [pb.RequestEnrichmentRequest(**who), events_pb2.EnrichmentRequested(**who, **ids)]


@pytest.mark.parametrize("address", SPELLINGS)
def test_the_contract_takes_every_spelling(address: str) -> None:
    assert [violations_of(each) for each in messages(address)] == [[], []]


@pytest.mark.parametrize("address", NO_PROFILES)
def test_the_contract_refuses_what_is_no_profile(address: str) -> None:
    for message in messages(address):
        (fault,) = violations_of(message)
        assert (fault.field, fault.rule) == ("linkedin_url", "string.linkedin_profile")


@pytest.mark.parametrize("text", ["nobody", "@engines.example", "", "+x@engines.example"])
def test_what_is_no_address_is_no_mailbox(text: str) -> None:
    assert mailbox(text) == ""


def test_a_folded_text_has_no_case_spacing_and_form() -> None:
    assert folded(" ADA\u00a0 Lovelac\u00e9 ") == folded("ada lovelace\u0301\n")


def test_a_name_that_unfolds_to_many_letters_is_bounded() -> None:
    assert len(plain("\ufdfa" * 200)) == MAX_NORMALISED
    assert plain("각" * 200) == "각" * 200
