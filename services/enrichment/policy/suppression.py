"""Whom a tenant never asks about: keyed hashes of what is known of a person.

The list holds no personal data and outlives an erasure. A key is HMAC-SHA256 (RFC 2104) under the
deployment's secret, over tenant, kind and the normalised value, so that neither another tenant's
list nor a stolen table can be compared with known addresses.
"""

from __future__ import annotations

import hmac
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote
from uuid import UUID

from services.enrichment.sources.findings import Finding, Person
from services.enrichment.sources.identity import MAX_NORMALISED, mailbox, plain, profile_slug
from services.enrichment.sources.person_names import words_of

_LEGAL = re.compile(
    r"\b(inc|incorporated|corp|corporation|co|company|ltd|limited|llc|plc|gmbh|ag|sa|bv)\b"
)
_AT_THE_END = re.compile(r"(?<=.)( (sarl|srl|spa|nv|kg|kgaa|oy|ab|as|aps|se|pty|pvt|pte|llp|lp))+$")
_UNSAID_WORDS = re.compile(r"^the (?=.)|\band\b")
_LETTERS = re.compile(r"\b\w(?: \w)+\b")  # "s a" of S.A.
_UNSAID = re.compile(r"['\u2018\u2019\u02bc`]")
_FORMER_PROFILE = re.compile(r"linkedin\.com/(?:in|pub)/([^/?#\s]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Key:
    """One thing that identifies a person: `email`, `linkedin_url` or `name_and_company`."""

    kind: str
    keyed_hash: bytes


class Hasher:
    """Makes keys under the deployment's secret."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def of_person(self, tenant_id: UUID, person: Person) -> list[Key]:
        """Return the keys of the person that a request is about."""
        return self.keys(
            tenant_id, [person.email], [person.linkedin_url], person.name, person.company
        )

    def of_finding(self, tenant_id: UUID, finding: Finding) -> list[Key]:
        """Return the keys of the people that a source found."""
        return [
            key
            for each in finding.people()
            for key in self.keys(
                tenant_id, each.emails, [each.linkedin_url], each.name, each.company
            )
        ]

    def keys(
        self,
        tenant_id: UUID,
        emails: Sequence[str],
        profiles: Sequence[str],
        name: str,
        company: str,
    ) -> list[Key]:
        """Return the keys of what is given; name and company count together only.

        What former versions wrote otherwise has a second key: their lists go on to hold.
        """
        values = [("email", each) for email in emails for each in _mailboxes(email)]
        values += [("linkedin_url", each) for profile in profiles for each in _slugs(profile)]
        values += [("name_and_company", each) for each in _names(name, company)]
        unlike = dict.fromkeys(values)
        return [Key(kind, self.keyed_hash(tenant_id, kind, each)) for kind, each in unlike if each]

    def keyed_hash(self, tenant_id: UUID, kind: str, value: str) -> bytes:
        """Return the tenant's hash of a value."""
        return hmac.digest(self._secret, f"{tenant_id}\n{kind}\n{value}".encode(), "sha256")


def _mailboxes(email: str) -> tuple[str, ...]:
    former = email.strip().lower()
    return mailbox(email) or former, former


def _slugs(profile: str) -> tuple[str, ...]:
    """Return a profile's name, and as former versions kept it: in the spelling that came."""
    slug, former = profile_slug(profile), _FORMER_PROFILE.search(profile)
    spelled = [slug, unicodedata.normalize("NFD", slug)]
    encoded = [quote(each).lower() for each in spelled]
    return (*spelled, *encoded, former[1].lower() if slug and former else "")


def _names(name: str, company: str) -> Iterator[str]:
    """Return who works where, in words alone, and as former versions kept it."""
    has_digit = any(each.isdigit() for each in name)  # which is no part of a word
    person, firm = "" if has_digit else " ".join(words_of(plain(name))), _firm(company)
    if person and firm:
        yield f"{person}\n{firm}"
    person, firm = _fold(name), " ".join(_LEGAL.sub("", _fold(company)).split())
    if person and firm:
        yield f"{person}\n{firm}"


def _firm(company: str) -> str:
    """Return a company's name without its legal form, whatever signs that is written with."""
    joined = _LETTERS.sub(
        lambda letters: letters[0].replace(" ", ""), _fold(_UNSAID.sub("", plain(company)))
    )
    bare = _AT_THE_END.sub("", " ".join(_LEGAL.sub("", joined).split()))
    return " ".join(_UNSAID_WORDS.sub("", bare).split())


def _fold(text: str) -> str:
    """Return lower-case words without accents and punctuation."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())[:MAX_NORMALISED]
    letters = "".join(c if c.isalnum() else " " for c in decomposed if not unicodedata.combining(c))
    return " ".join(letters.split())
