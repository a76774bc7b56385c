"""ContactOut is asked by one lookup at a time, and believed where the answer is the person."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.enrichment.sources.call import Answer, ErrorClass, SourceCall, SourceError
from services.enrichment.sources.catalogue import SOURCES, SourceName
from services.enrichment.sources.contactout import ContactOut
from services.enrichment.sources.findings import Contact, Person, Provenance
from services.enrichment.sources.http import certificates
from tests.enrichment.sources.serving import serve
from tests.harness import SandboxDesk

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
WAYS = SOURCES[SourceName.CONTACTOUT].ways_to_ask
JANE = Person(
    "Jane Doe",
    "Acme Corp",
    email="jane.doe@acme.example",
    linkedin_url="https://www.linkedin.com/in/jane-doe/",
)
PROFILE = {"full_name": "Jane Doe", "email": ["jane@acme.example"]}


def test_the_lookups_are_in_the_profiles_order() -> None:
    assert WAYS(JANE) == ("linkedin_url", "email", "name_and_company")


@pytest.mark.parametrize(
    ("changes", "ways"),
    [
        ({"linkedin_url": ""}, ("email", "name_and_company")),
        ({"linkedin_url": "https://www.linkedin.com/company/acme"}, ("email", "name_and_company")),
        ({"linkedin_url": "https://linkedin.com/pub/jane-doe"}, WAYS(JANE)),
        ({"email": ""}, ("linkedin_url", "name_and_company")),
        ({"company": ""}, ("linkedin_url", "email")),
        ({"company": "", "email": "", "linkedin_url": ""}, ()),
    ],
)
def test_a_lookup_needs_what_it_asks_with(changes: dict[str, Any], ways: tuple[str, ...]) -> None:
    assert WAYS(replace(JANE, **changes)) == ways


async def test_a_lookup_that_is_not_possible_is_not_made(sandbox_desk: SandboxDesk) -> None:
    source = ContactOut(sandbox_desk.client, sandbox_desk.url, "key", clock=lambda: NOW)
    for lookup in ("", "email"):
        with pytest.raises(SourceError) as caught:
            await source.ask(SourceCall(replace(JANE, email=""), {}, lookup))
        assert caught.value.error_class is ErrorClass.REFUSED_REQUEST
    assert await sandbox_desk.calls("contactout") == 0


@pytest.mark.parametrize("lookup", WAYS(JANE))
async def test_each_lookup_finds_the_person(sandbox_desk: SandboxDesk, lookup: str) -> None:
    source = ContactOut(sandbox_desk.client, sandbox_desk.url, "key", clock=lambda: NOW)
    answer = await source.ask(SourceCall(JANE, {}, lookup))
    assert isinstance(answer.finding, Contact)
    assert answer.finding.full_name == "Jane Doe"


async def test_samples_are_refused_as_a_matter_of_the_plan(sandbox_desk: SandboxDesk) -> None:
    await sandbox_desk.order("contactout", "sample")
    source = ContactOut(sandbox_desk.client, sandbox_desk.url, "key", clock=lambda: NOW)
    with pytest.raises(SourceError) as caught:
        await source.ask(SourceCall(JANE, {}, "name_and_company"))
    assert caught.value.error_class is ErrorClass.QUOTA
    assert "sample" in caught.value.message


# --- answers in every shape that was seen -------------------------------------------------------

Ask = Callable[..., Awaitable[Answer]]


@pytest.fixture
async def ask() -> AsyncIterator[Ask]:
    """Ask a ContactOut that answers just this, and keep what it was asked."""
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(httpx.AsyncClient(verify=certificates()))

        async def against(
            answer: Any, person: Person = JANE, lookup: str = "name_and_company"
        ) -> Answer:
            async def respond(request: Request) -> Response:
                return answer if isinstance(answer, Response) else JSONResponse(answer)

            route = Route("/v1/people/enrich", respond, methods=["POST"])
            url = await stack.enter_async_context(serve([route]))
            source = ContactOut(client, url, "key", clock=lambda: NOW)
            return await source.ask(SourceCall(person, {}, lookup))

        yield against


def profile(**fields: Any) -> dict[str, Any]:
    return {"status_code": 200, "profile": PROFILE | fields}


def contact(answer: Answer) -> Contact:
    assert isinstance(answer.finding, Contact)
    return answer.finding


async def test_a_string_stands_for_a_list_of_one(ask: Ask) -> None:
    found = contact(await ask(profile(work_email="a@acme.example", phone="+1 212 555 0100")))
    assert (found.work_emails, found.phones) == (("a@acme.example",), ("+1 212 555 0100",))


async def test_what_is_neither_string_nor_list_is_left_out(ask: Ask) -> None:
    found = contact(await ask(profile(work_email=[None, 7, "", "a@acme.example"], phone={"a": 1})))
    assert (found.work_emails, found.phones) == (("a@acme.example",), ())


WHOLE = {
    "url": "https://www.linkedin.com/in/jane-doe",
    "email": ["w@acme.example", "p@mail.example"],
    "work_email": ["w@acme.example"],
    "work_email_status": {"w@acme.example": "Verified"},
    "personal_email": ["p@mail.example"],
    "phone": ["+1 212 555 0100"],
    "full_name": "Jane Doe",
    "headline": "CFO",
    "company": {"name": "Acme"},
}
CAMEL = {
    "email": "p@mail.example",
    "workEmail": "w@acme.example",
    "workEmailStatus": "Verified",
    "fullName": "Jane Doe",
    "headline": "CFO",
    "linkedinUrl": "https://www.linkedin.com/in/jane-doe",
    "confidenceLevel": "",
    "altMatches": [],
    "phone": "+1 212 555 0100",
    "company": {"name": "Acme"},
}


@pytest.mark.parametrize("fields", [WHOLE, CAMEL], ids=["work_email", "workEmail"])
@pytest.mark.parametrize("lookup", WAYS(JANE))
async def test_both_spellings_of_all_fields_are_read(
    ask: Ask, fields: dict[str, Any], lookup: str
) -> None:
    person = replace(JANE, email="w@acme.example")
    found = contact(await ask({"status_code": 200, "profile": fields}, person, lookup))
    assert replace(found, provenance=Provenance(SourceName.CONTACTOUT, "", "", NOW)) == Contact(
        "Jane Doe",
        "CFO",
        "Acme",
        "https://www.linkedin.com/in/jane-doe",
        ("w@acme.example",),
        ("p@mail.example",),
        ("+1 212 555 0100",),
        Provenance(SourceName.CONTACTOUT, "", "", NOW),
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("work_email", "w@acme.example"),
        ("workEmail", "w@acme.example"),
        ("workEmails", ["w@acme.example"]),
        ("personalEmail", "w@acme.example"),
        ("personal_emails", ["w@acme.example"]),
        ("emails", [{"email": "w@acme.example", "type": "work"}]),
        ("Email", "w@acme.example"),
        ("phone", "+1 212 555 0100"),
        ("phones", ["+1 212 555 0100"]),
        ("phoneNumber", "+1 212 555 0100"),
    ],
)
async def test_whoever_has_an_address_or_a_number_is_found(
    ask: Ask, field: str, value: Any
) -> None:
    body = {"status_code": 200, "profile": {"fullName": "Jane Doe", field: value}}
    assert contact(await ask(body))


async def test_a_status_is_no_address(ask: Ask) -> None:
    fields = {"full_name": "Jane Doe", "work_email_status": {"old@acme.example": "Invalid"}}
    assert (await ask({"status_code": 200, "profile": fields})).finding is None


async def test_the_sandbox_speaks_both_spellings(sandbox_desk: SandboxDesk) -> None:
    source = ContactOut(sandbox_desk.client, sandbox_desk.url, "key", clock=lambda: NOW)
    plain = await source.ask(SourceCall(JANE, {}, "linkedin_url"))
    await sandbox_desk.order("contactout", "camel_case")
    assert await source.ask(SourceCall(JANE, {}, "linkedin_url")) == plain


async def test_an_email_that_is_in_two_lists_is_kept_once(ask: Ask) -> None:
    both = ["w@acme.example", "p@mail.example"]
    found = contact(await ask(profile(email=both, work_email=both[:1], personal_email=both[1:])))
    assert (found.work_emails, found.personal_emails) == (("w@acme.example",), ("p@mail.example",))


@pytest.mark.parametrize(
    ("fields", "cost"),
    [
        ({}, 200_000),
        ({"phone": "+1 212 555 0100"}, 300_000),
        ({"email": [], "phone": "+1 212 555 0100"}, 200_000),
        ({"email": []}, 100_000),
    ],
)
async def test_the_price_is_what_was_found(ask: Ask, fields: dict[str, Any], cost: int) -> None:
    assert (await ask(profile(**fields))).cost_micros == cost


async def test_a_person_who_cannot_be_reached_is_nobody(ask: Ask) -> None:
    assert (await ask(profile(email=[]))).finding is None


@pytest.mark.parametrize("nothing", [{}, {"profile": None}, {"profile": []}, {"profile": {}}])
async def test_no_profile_is_nobody(ask: Ask, nothing: dict[str, Any]) -> None:
    assert await ask({"status_code": 200, **nothing}) == Answer(None)


SAME: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "the same name": ({}, {}),
    "a short form": ({"name": "Bob Doe"}, {"full_name": "Robert Doe"}),
    "an accent": ({"name": "José Núñez"}, {"full_name": "Jose Nunez"}),
    "a middle name": ({}, {"full_name": "Jane Mary Doe"}),
    "the profile asked with": ({}, {"full_name": "Jane Miller", "url": "linkedin.com/in/Jane-Doe"}),
    "the e-mail asked with": ({}, {"full_name": "J. M.", "email": ["Jane.Doe@acme.example"]}),
    "pronouns": ({}, {"full_name": "Jane Doe (She/Her) \U0001f680"}),
    "a credential": ({}, {"full_name": "Jane Doe, PMP"}),
    "credentials": ({}, {"full_name": "Jane A. Doe, RN, BSN"}),
    "a hidden last name": ({}, {"full_name": "Jane D."}),
}


@pytest.mark.parametrize("proof", SAME)
async def test_the_person_is_known_by_a_name_in_another_spelling_a_profile_or_an_email(
    ask: Ask, proof: str
) -> None:
    asked, answered = SAME[proof]
    assert contact(await ask(profile(**answered), replace(JANE, **asked)))


OTHERS = {
    "another name": {"full_name": "Boris Nowhere"},
    "the same last name": {"full_name": "John Doe"},
    "no name": {"full_name": ""},
    "another profile": {"full_name": "", "url": "https://linkedin.com/in/john-doe"},
}


@pytest.mark.parametrize("other", OTHERS)
async def test_somebody_else_is_refused_and_was_paid_for(ask: Ask, other: str) -> None:
    with pytest.raises(SourceError) as caught:
        await ask(profile(**OTHERS[other]))
    assert caught.value.error_class is ErrorClass.WRONG_PERSON
    assert caught.value.cost_micros == 200_000


@pytest.mark.parametrize(
    ("body", "error_class"),
    [
        ({"status_code": 401}, ErrorClass.AUTH),
        ({"status_code": "429"}, ErrorClass.THROTTLED),
        ({"status_code": 503}, ErrorClass.TRANSIENT),
        ({"status_code": "broken"}, ErrorClass.INVALID_ANSWER),
        ({"error": "no", "profile": PROFILE}, ErrorClass.INVALID_ANSWER),
        ({"profile": "Jane"}, ErrorClass.INVALID_ANSWER),
        ({"message": "This is a sample response", "profile": PROFILE}, ErrorClass.QUOTA),
        ({"profile": PROFILE | {"work_email": "email1@example.com"}}, ErrorClass.QUOTA),
    ],
)
async def test_a_200_with_an_error_inside_has_its_class(
    ask: Ask, body: dict[str, Any], error_class: ErrorClass
) -> None:
    with pytest.raises(SourceError) as caught:
        await ask(body)
    assert caught.value.error_class is error_class


REFUSALS = [
    (400, "Bad credentials or invalid headers", ErrorClass.AUTH),
    (400, "Unauthenticated.", ErrorClass.AUTH),
    (400, "Bad Request", ErrorClass.REFUSED_REQUEST),
    (400, "", ErrorClass.REFUSED_REQUEST),
    (401, "Bad request or invalid input", ErrorClass.REFUSED_REQUEST),
    (401, "The profile field is required.", ErrorClass.REFUSED_REQUEST),
    (401, "Invalid API token", ErrorClass.AUTH),
    (401, "", ErrorClass.AUTH),
    (403, "You're out of credits, please email your sales manager", ErrorClass.QUOTA),
    (403, "No access to endpoint", ErrorClass.AUTH),
    (429, "Too Many Attempts.", ErrorClass.THROTTLED),
    (500, "Invalid token", ErrorClass.TRANSIENT),
]


@pytest.mark.parametrize(("status", "message", "error_class"), REFUSALS)
async def test_a_status_that_means_several_things_is_told_by_its_message(
    ask: Ask, status: int, message: str, error_class: ErrorClass
) -> None:
    body = {"status_code": status, "message": message}
    for answer in (JSONResponse(body, status), JSONResponse(body)):
        with pytest.raises(SourceError) as caught:
            await ask(answer)
        assert caught.value.error_class is error_class


@pytest.mark.parametrize(
    ("reason", "error_class"),
    [
        ("bad_credentials", ErrorClass.AUTH),
        ("bad_input", ErrorClass.REFUSED_REQUEST),
        ("no_access", ErrorClass.AUTH),
        ("out_of_credits", ErrorClass.QUOTA),
    ],
)
async def test_the_sandbox_refuses_as_the_documents_have_it(
    sandbox_desk: SandboxDesk, reason: str, error_class: ErrorClass
) -> None:
    await sandbox_desk.order("contactout", "refusal", value=reason)
    source = ContactOut(sandbox_desk.client, sandbox_desk.url, "key", clock=lambda: NOW)
    with pytest.raises(SourceError) as caught:
        await source.ask(SourceCall(JANE, {}, "email"))
    assert caught.value.error_class is error_class


async def test_the_sandbox_adds_to_names_as_people_do(sandbox_desk: SandboxDesk) -> None:
    await sandbox_desk.order("contactout", "added_to_name")
    source = ContactOut(sandbox_desk.client, sandbox_desk.url, "key", clock=lambda: NOW)
    found = contact(await source.ask(SourceCall(JANE, {}, "name_and_company")))
    assert found.full_name == "Jane Doe (She/Her), RN, BSN"


async def test_an_address_that_is_none_is_not_taken_for_nobody(ask: Ask) -> None:
    with pytest.raises(SourceError) as caught:
        await ask(Response("<html>nginx</html>", 404))
    assert caught.value.error_class is ErrorClass.REFUSED_REQUEST


@pytest.mark.parametrize("lookup", WAYS(JANE))
async def test_nothing_of_the_person_is_in_the_address(lookup: str) -> None:
    asked: list[tuple[str, dict[str, Any]]] = []

    async def respond(request: Request) -> Response:
        asked.append((str(request.url), json.loads(await request.body())))
        return JSONResponse(profile())

    route = Route("/v1/people/enrich", respond, methods=["POST"])
    async with serve([route]) as url, httpx.AsyncClient(verify=certificates()) as client:
        source = ContactOut(client, url, "key", clock=lambda: NOW)
        await source.ask(SourceCall(JANE, {}, lookup))
    ((address, body),) = asked
    assert "?" not in address
    assert len(body.keys() & {"linkedin_url", "email", "full_name"}) == 1
