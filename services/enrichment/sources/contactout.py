"""ContactOut: how to reach the person, by LinkedIn profile, by e-mail, or by name and company.

API: https://api.contactout.com, POST /v1/people/enrich, which takes all three in a body: no address
that a log could keep names the person. One credit is charged for a profile found, one for an e-mail
and one for a phone. Its documents spell fields in two ways, workEmail and work_email, and have 400
for bad credentials and 401 for bad input where its servers also have them the other way round: so
a field is known by its letters, and an error by its message.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import httpx

from services.enrichment.sources.call import Answer, ErrorClass, SourceCall, SourceError
from services.enrichment.sources.catalogue import SOURCES, SourceName
from services.enrichment.sources.findings import Contact, Person, Provenance
from services.enrichment.sources.http import Reply, Vendor, send, text
from services.enrichment.sources.identity import mailbox, profile_address, profile_slug
from services.enrichment.sources.person_names import match_person

VENDOR = Vendor(
    "ContactOut",
    {
        401: ErrorClass.AUTH,
        402: ErrorClass.QUOTA,
        403: ErrorClass.QUOTA,  # the plan or its credits do not cover the call
        408: ErrorClass.TRANSIENT,
        429: ErrorClass.THROTTLED,
    },
    phrases={
        "credits": ErrorClass.QUOTA,
        "credential": ErrorClass.AUTH,
        "no access": ErrorClass.AUTH,
        "unauthorized": ErrorClass.AUTH,
        "unauthenticated": ErrorClass.AUTH,
        "forbidden": ErrorClass.AUTH,
        "api key": ErrorClass.AUTH,
        "token": ErrorClass.AUTH,
        "bad request": ErrorClass.REFUSED_REQUEST,
        "invalid": ErrorClass.REFUSED_REQUEST,
        "required": ErrorClass.REFUSED_REQUEST,
    },
)
CREDIT_MICROS = 100_000
_STATUS = re.compile(r"[1-5]\d\d", re.ASCII)
# What a key without the plan gets instead of an answer, as clients in the field know it.
_SAMPLE = re.compile(r"example-person|@example\.(?:com|org|net)\b", re.IGNORECASE)


class ContactOut:
    """ContactOut as a source."""

    name = SourceName.CONTACTOUT

    def __init__(
        self,
        client: httpx.AsyncClient,
        base_url: str,
        api_key: str,
        *,
        clock: Callable[[], datetime],
        seconds: float = 30,
    ) -> None:
        self._client = client
        self._url = f"{base_url.rstrip('/')}/v1/people/enrich"
        self._headers = {"token": api_key, "authorization": "basic"}
        self._clock = clock
        self._seconds = seconds

    async def ask(self, call: SourceCall) -> Answer:
        """Ask in the call's one way; no finding where that finds nobody who can be reached."""
        body = _body(call.person, call.lookup)
        request = self._client.build_request("POST", self._url, json=body, headers=self._headers)
        reply = await send(self._client, request, VENDOR, seconds=self._seconds)
        if reply.status == 404 and reply.error_object():
            return Answer(None)
        answer = await self._opened(reply)
        profile = answer.get("profile")
        if not profile:
            return Answer(None)
        if not isinstance(profile, dict):
            raise VENDOR.unreadable("answered a profile that is not an object")
        request_id = text(reply.headers.get("x-request-id"))
        contact = self._contact(profile, request_id)
        if _SAMPLE.search(" ".join((contact.linkedin_url, *_emails(contact)))):
            raise _sample()
        cost = _cost(contact)
        if not _is_same(contact, call.person):
            # Asked the same way again it would answer, and cost, the same.
            message = "ContactOut answered with another person"
            raise SourceError(
                ErrorClass.WRONG_PERSON, message, cost_micros=cost, request_id=request_id
            )
        reachable = contact.work_emails or contact.personal_emails or contact.phones
        return Answer(contact if reachable else None, cost, request_id)

    async def _opened(self, reply: Reply) -> dict[str, Any]:
        """Return the answer's object; a 200 may carry another status inside, or samples."""
        if reply.status != 200:
            raise self._error(reply.status, reply, reply.error_object())
        answer = await VENDOR.object_of(reply.body)
        inside = text(str(answer.get("status_code", answer.get("statusCode", 200))), 20)
        is_status = _STATUS.fullmatch(inside)
        if is_status and inside not in ("200", "404"):
            raise self._error(int(inside), reply, answer)
        if "error" in answer or not (is_status or answer.get("profile")):
            raise VENDOR.invalid("answered 200 with an error inside")
        if "sample response" in text(answer.get("message")).casefold():
            raise _sample()
        return answer

    def _error(self, status: int, reply: Reply, said: dict[str, Any]) -> SourceError:
        message = text(said.get("message"))
        return VENDOR.error(status, reply.headers, self._clock(), message=message)

    def _contact(self, profile: dict[str, Any], request_id: str) -> Contact:
        company = profile.get("company")
        work, personal = _addresses(profile)
        phones = (each for _, each in _values(profile, "phone") if re.search(r"\d", each))
        return Contact(
            full_name=_first(profile, "full_name"),
            headline=_first(profile, "headline"),
            company=text(company.get("name") if isinstance(company, dict) else company),
            linkedin_url=_first(profile, "url", "linkedin_url"),
            work_emails=work,
            personal_emails=personal,
            phones=tuple(dict.fromkeys(phones)),
            provenance=Provenance(self.name, self._url, request_id, self._clock()),
        )


def _body(person: Person, lookup: str) -> dict[str, Any]:
    if lookup not in SOURCES[SourceName.CONTACTOUT].ways_to_ask(person):
        message = f"ContactOut cannot look this person up by {lookup or 'nothing'}"
        raise SourceError(ErrorClass.REFUSED_REQUEST, message)
    ways: dict[str, dict[str, Any]] = {
        "linkedin_url": {"linkedin_url": profile_address(person.linkedin_url)},
        "email": {"email": person.email},
        "name_and_company": {"full_name": person.name, "company": [person.company]},
    }
    return ways[lookup] | {"include": ["work_email", "personal_email", "phone"]}


def _sample() -> SourceError:
    message = "ContactOut answered with sample data: the key's plan does not cover the call"
    return SourceError(ErrorClass.QUOTA, message)


def _first(fields: dict[str, Any], *names: str) -> str:
    """Return the first text among the fields of these names, in either spelling."""
    wanted = [_letters(name) for name in names]
    found = {_letters(key): text(value) for key, value in fields.items() if text(value)}
    return next((found[name] for name in wanted if name in found), "")


def _addresses(profile: dict[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the work and the other e-mail addresses: personal ones first, none of them twice."""
    found = [(name, value) for name, value in _values(profile, "email") if "@" in value]
    work = dict.fromkeys(value for name, value in found if "work" in name)
    others = sorted(found, key=lambda each: "personal" not in each[0])
    return tuple(work), tuple(dict.fromkeys(each for _, each in others if each not in work))


def _values(profile: dict[str, Any], kind: str) -> Iterator[tuple[str, str]]:
    """Return the texts of all fields about e-mail or phone, each with its field's letters."""
    for key, value in profile.items():
        name = _letters(key)
        if kind in name and "status" not in name:
            yield from ((name, each) for each in _texts(value))


def _texts(value: Any) -> Iterator[str]:
    """Return the texts of a field, which holds one, a list, or objects with them."""
    if isinstance(value, list | dict):
        for each in value if isinstance(value, list) else value.values():
            yield from _texts(each)
    elif found := text(value):
        yield found


def _letters(key: str) -> str:
    return key.replace("_", "").casefold()


def _is_same(contact: Contact, person: Person) -> bool:
    """A person is known by the profile's address, by the e-mail asked with, or by name."""
    asked = profile_slug(person.linkedin_url)
    if asked and asked == profile_slug(contact.linkedin_url):
        return True
    if person.email and mailbox(person.email) in map(mailbox, _emails(contact)):
        return True
    return match_person(person.name, contact.full_name) is not None


def _emails(contact: Contact) -> tuple[str, ...]:
    return contact.work_emails + contact.personal_emails


def _cost(contact: Contact) -> int:
    return (1 + bool(_emails(contact)) + bool(contact.phones)) * CREDIT_MICROS
