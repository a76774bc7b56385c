"""ContactOut: how to reach the person, by LinkedIn profile, by e-mail, or by name and company.

API: https://api.contactout.com, POST /v1/people/enrich, which takes all three in a body: no address
that a log could keep names the person. One credit is charged for a profile found, one for an e-mail
and one for a phone.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

import httpx

from services.enrichment.sources.call import Answer, ErrorClass, SourceCall, SourceError
from services.enrichment.sources.catalogue import SOURCES, SourceName
from services.enrichment.sources.findings import Contact, Person, Provenance
from services.enrichment.sources.http import Reply, Vendor, send, text, texts
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
            raise VENDOR.error(reply.status, reply.headers, self._clock())
        answer = await VENDOR.object_of(reply.body)
        inside = text(str(answer.get("status_code", 200)), 20)
        is_status = _STATUS.fullmatch(inside)
        if is_status and inside not in ("200", "404"):
            raise VENDOR.error(int(inside), reply.headers, self._clock())
        if "error" in answer or not (is_status or answer.get("profile")):
            raise VENDOR.invalid("answered 200 with an error inside")
        if _is_sample(answer):
            message = "ContactOut answered with sample data: the key's plan does not cover the call"
            raise SourceError(ErrorClass.QUOTA, message)
        return answer

    def _contact(self, profile: dict[str, Any], request_id: str) -> Contact:
        company = profile.get("company")
        work = texts(profile.get("work_email"))
        personal = texts(profile.get("personal_email"))
        unsorted = [each for each in texts(profile.get("email")) if each not in (*work, *personal)]
        return Contact(
            full_name=text(profile.get("full_name") or profile.get("fullName")),
            headline=text(profile.get("headline")),
            company=text(company.get("name") if isinstance(company, dict) else company),
            linkedin_url=text(profile.get("url") or profile.get("linkedin_url")),
            work_emails=work,
            personal_emails=(*personal, *unsorted),
            phones=texts(profile.get("phone")),
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


def _is_sample(answer: dict[str, Any]) -> bool:
    if "sample response" in text(answer.get("message")).casefold():
        return True
    profile = answer.get("profile")
    fields = profile if isinstance(profile, dict) else {}
    named = ("url", "linkedin_url", "email", "work_email", "personal_email")
    return any(_SAMPLE.search(each) for name in named for each in texts(fields.get(name)))


def _is_same(contact: Contact, person: Person) -> bool:
    """A person is known by the profile's address, by the e-mail asked with, or by name."""
    asked = profile_slug(person.linkedin_url)
    if asked and asked == profile_slug(contact.linkedin_url):
        return True
    emails = {mailbox(each) for each in (*contact.work_emails, *contact.personal_emails)}
    if person.email and mailbox(person.email) in emails:
        return True
    return match_person(person.name, contact.full_name) is not None


def _cost(contact: Contact) -> int:
    emails = bool(contact.work_emails or contact.personal_emails)
    return (1 + emails + bool(contact.phones)) * CREDIT_MICROS
