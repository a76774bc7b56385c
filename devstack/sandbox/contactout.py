"""ContactOut in the sandbox: a plausible contact at a reserved domain, made of who was asked."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, unquote

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from devstack.sandbox.faults import Kind, ordered
from devstack.sandbox.vendor import Called, Setup, Vendor

MESSAGES = {400: "Bad Request", 401: "Unauthorized", 403: "You have run out of credits",
            404: "Not Found", 429: "Too Many Attempts."}  # fmt: skip
# As its documents have them, by what a fault names them.
REFUSALS = {
    "bad_credentials": (400, "Bad credentials or invalid headers"),
    "bad_input": (401, "Bad request or invalid input"),
    "no_access": (403, "No access to endpoint"),
    "out_of_credits": (403, "You're out of credits, please email your sales manager"),
}
STRANGER = "Boris Nowhere"
ADDED = " (She/Her), RN, BSN"
SAMPLE = {
    "status_code": 200,
    "message": "This is a sample response. Please contact sales to enable your API access.",
    "profile": {
        "url": "https://www.linkedin.com/in/example-person",
        "email": ["email1@example.com", "email2@example.com"],
        "work_email": ["email1@example.com"],
        "personal_email": ["email2@example.com"],
        "phone": ["+1234567891"],
        "full_name": "Example Person",
        "headline": "Co-Founder at Example Company",
    },
}


def routes(_: Setup) -> list[Route]:
    """Return ContactOut's routes."""
    return [
        Route("/v1/people/linkedin", _by_profile, methods=["GET"]),
        Route("/v1/people/enrich", _enrich, methods=["POST"]),
    ]


def error(status: int, message: str = "", headers: Mapping[str, str] = {}) -> JSONResponse:
    """Return an error in ContactOut's form."""
    message = message or MESSAGES.get(status, "Server Error")
    body = {"status_code": status, "message": message}
    return JSONResponse(body, status, headers=dict(headers))


def about_whom(call: Called) -> str:
    """Return whom a call is about."""
    if not call.body:
        return parse_qs(call.query).get("profile", [""])[0]
    asked = call.json()
    return str(asked.get("full_name") or asked.get("linkedin_url") or asked.get("email") or "")


VENDOR = Vendor(
    ("/v1/people",), routes, lambda status, headers: error(status, "", headers), about_whom
)


async def _by_profile(request: Request) -> JSONResponse:
    return _answer(request, _name_in(request.query_params.get("profile", "")), "Example Company")


async def _enrich(request: Request) -> JSONResponse:
    body = await request.json()
    if url := str(body.get("linkedin_url") or ""):
        return _answer(request, _name_in(url), "Example Company")
    if email := str(body.get("email") or ""):
        local, _, domain = email.partition("@")
        name = re.sub(r"[._]", " ", local).title()
        return _answer(request, name, domain.split(".")[0].title())
    company = body.get("company") or [""]
    return _answer(request, str(body.get("full_name", "")), str(company[0]))


def _answer(request: Request, name: str, company: str) -> JSONResponse:
    if refused := _refused(request):
        return refused
    if ordered(request, Kind.ERROR_BODY):
        return JSONResponse({"status_code": 500, "message": "Server Error"})
    if ordered(request, Kind.SAMPLE):
        return JSONResponse(SAMPLE)
    if "nobody" in name.lower() or ordered(request, Kind.NOT_FOUND):
        return error(404)
    profile = _profile(STRANGER if ordered(request, Kind.STRANGER) else name, company)
    if ordered(request, Kind.UNREACHABLE_PERSON):
        profile |= {"email": [], "work_email": [], "personal_email": [], "phone": []}
    if added := ordered(request, Kind.ADDED_TO_NAME):
        profile |= {"full_name": f"{name}{added.value or ADDED}"}
    if ordered(request, Kind.CAMEL_CASE):
        profile = {_camel(key): value for key, value in profile.items()}
    return JSONResponse({"status_code": 200, "profile": profile})


def _refused(request: Request) -> JSONResponse | None:
    if not request.headers.get("token"):
        return error(*REFUSALS["bad_credentials"])
    if refusal := ordered(request, Kind.REFUSAL):
        said = str(refusal.value)
        return error(*REFUSALS.get(said, (400, said)))
    return error(403) if ordered(request, Kind.QUOTA) else None


def _camel(key: str) -> str:
    """Return a field's other spelling in the documents; `url` is `linkedinUrl` there."""
    first, *rest = {"url": "linkedin_url"}.get(key, key).split("_")
    return first + "".join(map(str.capitalize, rest))


def _profile(name: str, company: str) -> dict[str, Any]:
    first, last = _slug(name).split("-")[0], _slug(name).split("-")[-1]
    work = f"{first}.{last}@{_slug(company)}.example"
    number = zlib.crc32(name.encode()) % 100
    return {
        "url": f"https://www.linkedin.com/in/{_slug(name)}",
        "email": [work, f"{first}{number}@mail.example"],
        "work_email": work,
        "work_email_status": {work: "Verified"},
        "personal_email": [f"{first}{number}@mail.example"],
        "phone": [f"+1 212 555 01{number:02}"],
        "full_name": name,
        "headline": f"{name} at {company} (sandbox)",
        "company": {"name": company},
    }


def _name_in(url: str) -> str:
    return unquote(url.rstrip("/").rsplit("/", 1)[-1]).replace("-", " ").title()


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "unknown"
