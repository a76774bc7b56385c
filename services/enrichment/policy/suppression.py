"""Whom a tenant never asks about: keyed hashes of what is known of a person.

The list holds no personal data and outlives an erasure. A key is HMAC-SHA256 (RFC 2104) under the
deployment's secret, over tenant, kind and the normalised value, so that neither another tenant's
list nor a stolen table can be compared with known addresses.
"""

from __future__ import annotations

import hmac
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from services.enrichment.sources.findings import Finding, Person

_LEGAL = re.compile(
    r"\b(inc|incorporated|corp|corporation|co|company|ltd|limited|llc|plc|gmbh|ag|sa|bv)\b"
)
_LINKEDIN = re.compile(r"linkedin\.com/(?:in|pub)/([^/?#\s]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Key:
    """One thing that identifies a person: `email`, `linkedin_url` or `name_and_company`."""

    kind: str
    digest: bytes


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
        """Return a key for each value that is given; name and company count together only."""
        values = [("email", email.strip().lower()) for email in emails]
        values += [("linkedin_url", _slug(profile)) for profile in profiles]
        folded, firm = _fold(name), _LEGAL.sub("", _fold(company)).strip()
        if folded and firm:
            values.append(("name_and_company", f"{folded}\n{' '.join(firm.split())}"))
        return [Key(kind, self.digest(tenant_id, kind, v)) for kind, v in values if v]

    def digest(self, tenant_id: UUID, kind: str, value: str) -> bytes:
        """Return the tenant's hash of a value."""
        return hmac.digest(self._secret, f"{tenant_id}\n{kind}\n{value}".encode(), "sha256")


def _slug(profile: str) -> str:
    found = _LINKEDIN.search(profile)
    return found.group(1).lower() if found else ""


def _fold(text: str) -> str:
    """Return lower-case words without accents and punctuation."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    letters = "".join(c if c.isalnum() else " " for c in plain if not unicodedata.combining(c))
    return " ".join(letters.split())
