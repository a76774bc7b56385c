"""What identifies a person, in the one form in which it is asked with and compared.

People copy a profile's address as their browser, their phone or a spreadsheet has it: with or
without a scheme, of a country's host, percent-encoded, in capitals, with a tail. LinkedIn leads all
of these to one profile, so they are one here.
"""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote, unquote

_PROFILE = re.compile(
    r"(?<![\w-])linkedin\.(?:com|cn)\.?(?::\d+)?/+(?:m/+|mwlite/+)?(?P<kind>in|pub)/+"
    r"(?P<slug>[^/?#\s]+)(?P<rest>(?:/[0-9a-f]{1,3}){0,3})",
    re.IGNORECASE,
)
# LinkedIn's own ids of members, in which case counts.
_MEMBER_ID = re.compile(r"AC[a-z]AA", re.ASCII)
MAX_NORMALISED = 600
"""So much of a name is compared, which 200 characters have in any script; U+FDFA alone has 18."""
_MAX_ENCODINGS = 3
_GMAIL = frozenset({"gmail.com", "googlemail.com"})


def profile_slug(address: str) -> str:
    """Return the name of the LinkedIn profile at an address; empty where it is none."""
    found = _PROFILE.search(plain(_decoded(address)))
    return found["slug"].lower() if found else ""


def profile_address(address: str) -> str:
    """Return a LinkedIn profile's address in its usual form; any other text as it is."""
    found = _PROFILE.search(plain(_decoded(address)))
    if not found:
        return address
    kind, slug = found["kind"].lower(), found["slug"]
    slug = slug if _MEMBER_ID.match(slug) else slug.lower()
    rest = found["rest"].lower() if kind == "pub" else ""
    return f"https://www.linkedin.com/{kind}/{quote(slug, safe='%')}{rest}"


def mailbox(email: str) -> str:
    """Return the mailbox of an e-mail address: without case, tag, and the dots that Gmail drops."""
    local, _, domain = plain(email).strip().strip("<>").casefold().rpartition("@")
    local = local.removeprefix("mailto:").partition("+")[0]
    domain = _ascii(domain.rstrip("."))
    if domain in _GMAIL:
        local, domain = local.replace(".", ""), "gmail.com"
    return f"{local}@{domain}" if local and domain else ""


def folded(text: str) -> str:
    """Return a text without regard to case, spacing and the form of its characters."""
    return " ".join(plain(text).casefold().split())


def plain(text: str) -> str:
    """Return a text in one Unicode form, without characters that cannot be seen."""
    composed = unicodedata.normalize("NFKC", text)[:MAX_NORMALISED]
    if composed.isascii():
        return composed
    return "".join(each for each in composed if unicodedata.category(each) != "Cf")


def _decoded(address: str) -> str:
    """Undo percent-encoding, also where it was done twice; what is no UTF-8 stays encoded."""
    for _ in range(_MAX_ENCODINGS):
        try:
            once = unquote(address, errors="strict")
        except UnicodeDecodeError:
            break
        if once == address:
            break
        address = once
    return address


def _ascii(domain: str) -> str:
    try:
        return domain.encode("idna").decode()
    except UnicodeError:
        return domain
