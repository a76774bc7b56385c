"""Suppression: the same person has the same keys however written, and no two tenants share one."""

from __future__ import annotations

import hashlib
import hmac
import uuid
from dataclasses import replace

import pytest

from services.enrichment.policy.suppression import Hasher, Key
from services.enrichment.sources.catalogue import SourceName
from services.enrichment.sources.findings import Contact, Person
from tests.enrichment.engine import finding

TENANT = uuid.UUID(int=7)
HASHER = Hasher(b"secret")


def key(kind: str, value: str) -> Key:
    """Compute a key as the docstring of the module writes it."""
    text = f"{TENANT}\n{kind}\n{value}".encode()
    return Key(kind, hmac.new(b"secret", text, hashlib.sha256).digest())


def keys(**values: str) -> list[Key]:
    """Return the keys of whom a request names."""
    return HASHER.of_person(TENANT, Person(**({"name": "", "company": ""} | values)))  # type: ignore[arg-type]


@pytest.mark.parametrize("email", ["ada@engines.example", " Ada@Engines.Example\n"])
def test_an_email_is_one_key_in_any_case_and_between_spaces(email: str) -> None:
    assert keys(email=email) == [key("email", "ada@engines.example")]


@pytest.mark.parametrize(
    "profile",
    [
        "https://www.linkedin.com/in/ada-lovelace",
        "linkedin.com/pub/Ada-Lovelace/1/2",
        "HTTPS://LINKEDIN.COM/IN/ADA-LOVELACE?trk=x",
        "linkedin.com/in/ada-lovelace#about",
    ],
)
def test_a_profile_is_one_key_however_its_address_is_written(profile: str) -> None:
    assert keys(linkedin_url=profile) == [key("linkedin_url", "ada-lovelace")]


def test_an_address_that_is_no_profile_is_no_key() -> None:
    assert keys(linkedin_url="https://www.linkedin.com/company/engines") == []


@pytest.mark.parametrize(
    ("name", "company"),
    [
        ("Ada Lovelace", "Engines"),
        ("ÁDA  LOVELACE", "Engines, Inc."),
        ("ada-lovelace", "engines co ltd"),
    ],
)
def test_a_name_and_company_are_one_key_without_accents_signs_and_legal_form(
    name: str, company: str
) -> None:
    assert keys(name=name, company=company) == [
        key("name_and_company", "ada lovelace\nengines"),
    ]


def test_a_legal_form_inside_the_name_of_a_company_leaves_one_space() -> None:
    assert keys(name="Ada", company="North Co Engines") == [
        key("name_and_company", "ada\nnorth engines")
    ]


@pytest.mark.parametrize(
    ("name", "company"), [("Ada", ""), ("", "Engines"), ("Ada", "Inc."), ("-", "Engines")]
)
def test_a_name_or_a_company_alone_is_no_key(name: str, company: str) -> None:
    assert keys(name=name, company=company) == []


def test_a_request_has_a_key_for_each_thing_that_it_names() -> None:
    found = keys(
        name="Ada", company="Engines", email="a@b.example", linkedin_url="linkedin.com/in/ada"
    )
    assert [each.kind for each in found] == ["email", "linkedin_url", "name_and_company"]


def test_a_contact_has_a_key_for_each_address_that_it_brings() -> None:
    contact = finding(SourceName.CONTACTOUT)
    assert isinstance(contact, Contact)
    contact = replace(
        contact,
        full_name="Ada",
        company="Engines",
        linkedin_url="linkedin.com/in/ada",
        work_emails=("ada@engines.example",),
        personal_emails=("ada@home.example",),
    )
    assert HASHER.of_finding(TENANT, contact) == [
        key("email", "ada@engines.example"),
        key("email", "ada@home.example"),
        key("linkedin_url", "ada"),
        key("name_and_company", "ada\nengines"),
    ]


def test_what_a_source_says_of_nobody_has_no_key() -> None:
    assert HASHER.of_finding(TENANT, finding(SourceName.EXA)) == []


def test_another_tenant_or_another_secret_makes_another_key() -> None:
    own = HASHER.digest(TENANT, "email", "a@b.example")
    assert HASHER.digest(uuid.UUID(int=8), "email", "a@b.example") != own
    assert Hasher(b"other").digest(TENANT, "email", "a@b.example") != own
