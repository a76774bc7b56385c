"""ContactOut: how to reach the person, by LinkedIn profile or by name and company.

API: https://api.contactout.com (people/linkedin, people/enrich). One credit is charged for an
e-mail found and one for a phone found.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from datetime import datetime
from typing import Any

import httpx

from services.enrichment.findings import (
    Answer,
    Contact,
    ErrorClass,
    Provenance,
    SourceCall,
    SourceError,
    SourceName,
    Subject,
)
from services.enrichment.profiles import PROFILES
from services.enrichment.sources.http import StatusTable, ask, invalid, text, texts

ERRORS: StatusTable = {
    400: ErrorClass.REFUSED_REQUEST,
    401: ErrorClass.AUTH,
    402: ErrorClass.QUOTA,
    403: ErrorClass.QUOTA,  # the plan or its credits do not cover the call
    408: ErrorClass.TRANSIENT,
    429: ErrorClass.THROTTLED,
}
# ContactOut takes the addresses of people only, not of companies.
_PROFILE = re.compile(r"linkedin\.com/(?:in|pub)/[^/?#]+", re.IGNORECASE)
EMAIL_CREDIT_MICROS = 100_000
PHONE_CREDIT_MICROS = 300_000


def lookups(subject: Subject) -> tuple[str, ...]:
    """Return the ways in which ContactOut can be asked about the subject, best first."""
    possible = {
        "linkedin_url": bool(_PROFILE.search(subject.linkedin_url)),
        "email": "@" in subject.email,
        "name_and_company": bool(subject.name and subject.company),
    }
    ways = PROFILES[SourceName.CONTACTOUT].lookups
    return tuple(way for way in ways if possible.get(way))


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
    ) -> None:
        self._client = client
        self._url = base_url.rstrip("/")
        self._headers = {"token": api_key, "authorization": "basic"}
        self._clock = clock

    async def ask(self, call: SourceCall) -> Answer:
        """Ask in the call's one way; no finding where that finds nobody who can be reached."""
        subject = call.subject
        request = self._request(subject, call.lookup)
        answer = await ask(
            self._client, request, vendor="ContactOut", table=ERRORS, now=self._clock()
        )
        if answer is None:
            return Answer(None)
        _refuse_error_inside(answer)
        profile = answer.get("profile")
        if not profile:
            return Answer(None)
        if not isinstance(profile, dict):
            raise invalid("ContactOut's profile is not an object")
        contact = self._contact(profile, str(request.url.copy_with(query=None)))
        _refuse_stranger(contact, subject)
        return Answer(contact, cost_micros=_cost(contact))

    def _request(self, subject: Subject, lookup: str) -> httpx.Request:
        if lookup not in lookups(subject):
            raise SourceError(
                ErrorClass.REFUSED_REQUEST, f"ContactOut cannot look up by {lookup!r}"
            )
        body: dict[str, Any] = {"include": ["work_email", "personal_email", "phone"]}
        match lookup:
            case "linkedin_url":
                body |= {"linkedin_url": subject.linkedin_url}
            case "email":
                body |= {"email": subject.email}
            case _:
                body |= {"full_name": subject.name, "company": [subject.company]}
        url = f"{self._url}/v1/people/enrich"
        return self._client.build_request("POST", url, json=body, headers=self._headers)

    def _contact(self, profile: dict[str, Any], url: str) -> Contact:
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
            provenance=Provenance(self.name, url, "", self._clock()),
        )


def _refuse_error_inside(answer: dict[str, Any]) -> None:
    """A 200 may carry another status inside."""
    status = answer.get("status_code", 200)
    if status in (200, 404):
        return
    known = ERRORS.get(status) if isinstance(status, int) else None
    raise SourceError(known or ErrorClass.INVALID_ANSWER, f"ContactOut answered {status!r} inside")


def _refuse_stranger(contact: Contact, subject: Subject) -> None:
    """Keys without the plan get sample people: nobody whose name shares no word was asked for."""
    if contact.full_name and not _words(contact.full_name) & _words(subject.name):
        raise invalid("ContactOut answered with another person: does the key's plan give samples?")


def _words(name: str) -> set[str]:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode() or name
    return {word.strip(".,") for word in plain.casefold().split()}


def _cost(contact: Contact) -> int:
    emails = bool(contact.work_emails or contact.personal_emails)
    return emails * EMAIL_CREDIT_MICROS + bool(contact.phones) * PHONE_CREDIT_MICROS
