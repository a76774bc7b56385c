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


ZOE = [
    "https://www.linkedin.com/in/zoë-q",
    "https://de.linkedin.com/in/Zoë-Q/",
    "linkedin.com/in/zo%C3%AB-q",
    "http://www.linkedin.com/in/zo%c3%ab-q?trk=x#about",
    "https://www.linkedin.com/in/zoe\u0308-q/de",
    "https://www.linkedin.com/in/%7Ao%C3%AB-q",
    "HTTPS://LinkedIn.com//IN/ZO%25C3%25AB-Q",
    "linkedin.cn/mwlite/in/zoë\u200b-q",
]


@pytest.mark.parametrize("listed", ZOE)
@pytest.mark.parametrize("asked", ZOE)
def test_a_profile_is_the_same_in_every_spelling(listed: str, asked: str) -> None:
    assert key("linkedin_url", "zoë-q") in keys(linkedin_url=listed)
    assert key("linkedin_url", "zoë-q") in keys(linkedin_url=asked)


@pytest.mark.parametrize("former", ["zoë-q", "zo%c3%ab-q", "zoe\u0308-q", "zoe%cc%88-q"], ids=ascii)
@pytest.mark.parametrize("asked", ZOE)
def test_a_profile_on_a_list_of_a_former_version_is_found(former: str, asked: str) -> None:
    assert key("linkedin_url", former) in keys(linkedin_url=asked)


@pytest.mark.parametrize(
    ("email", "same"),
    [
        ("ada.love+news@gmail.com", "adalove@gmail.com"),
        ("a.d.a@GoogleMail.com", "ada@gmail.com"),
        ("ada+crm@engines.example", "ada@engines.example"),
        ("ada@bücher.example", "ada@xn--bcher-kva.example"),
        ("mailto:ada@engines.example", "ada@engines.example"),
    ],
)
def test_a_mailbox_is_one_key_and_the_former_one_is_kept(email: str, same: str) -> None:
    assert keys(email=email) == [key("email", same), key("email", email.lower())]


@pytest.mark.parametrize("name", ["Lovelace, Ada", "Dr. Ada Lovelace, PhD", "Ada\u200d Lovelace"])
@pytest.mark.parametrize("company", ["The Engines S.A.", "Engines S.r.l.", "ENGINES, L.L.C."])
def test_a_name_with_titles_and_in_any_order_is_the_same(name: str, company: str) -> None:
    assert key("name_and_company", "ada lovelace\nengines") in keys(name=name, company=company)


@pytest.mark.parametrize(
    ("name", "company", "former"),
    [
        ("Pat O'Brien", "Engines", "pat o brien\nengines"),
        ("Lovelace, Ada", "Engines", "lovelace ada\nengines"),
        ("Ada", "Ink and Paper S.A.", "ada\nink and paper s a"),
    ],
)
def test_a_name_on_a_list_of_a_former_version_is_found(
    name: str, company: str, former: str
) -> None:
    assert key("name_and_company", former) in keys(name=name, company=company)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"name": "John Doe Jr.", "company": "A"}, {"name": "John Doe Sr.", "company": "A"}),
        ({"name": "Agent 47", "company": "A"}, {"name": "Agent 48", "company": "A"}),
        ({"name": "Ada", "company": "Ink"}, {"name": "Ada", "company": "Paper"}),
        ({"linkedin_url": "linkedin.com/in/a-b"}, {"linkedin_url": "linkedin.com/in/a-c"}),
        ({"linkedin_url": "linkedin.com/in/a-b"}, {"linkedin_url": "notlinkedin.com/in/a-b"}),
        ({"email": "a.b@engines.example"}, {"email": "ab@engines.example"}),
    ],
)
def test_others_share_no_key(one: dict[str, str], other: dict[str, str]) -> None:
    assert not set(keys(**one)) & set(keys(**other))


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
    own = HASHER.keyed_hash(TENANT, "email", "a@b.example")
    assert HASHER.keyed_hash(uuid.UUID(int=8), "email", "a@b.example") != own
    assert Hasher(b"other").keyed_hash(TENANT, "email", "a@b.example") != own
