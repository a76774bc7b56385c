"""ContactOut in the sandbox: a plausible contact at a reserved domain, made of who was asked."""

from __future__ import annotations

import re
import zlib

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


def routes() -> list[Route]:
    """Return the addresses that ContactOut answers at."""
    return [
        Route("/v1/people/linkedin", _by_profile, methods=["GET"]),
        Route("/v1/people/enrich", _enrich, methods=["POST"]),
    ]


async def _by_profile(request: Request) -> JSONResponse:
    slug = request.query_params.get("profile", "").rstrip("/").rsplit("/", 1)[-1]
    return _answer(request, slug.replace("-", " ").title(), "Example Company")


async def _enrich(request: Request) -> JSONResponse:
    body = await request.json()
    if body.get("linkedin_url"):
        slug = str(body["linkedin_url"]).rstrip("/").rsplit("/", 1)[-1]
        return _answer(request, slug.replace("-", " ").title(), "Example Company")
    if body.get("email"):
        local, _, domain = str(body["email"]).partition("@")
        return _answer(request, re.sub(r"[._]", " ", local).title(), domain.split(".")[0].title())
    company = body.get("company") or [""]
    return _answer(request, str(body.get("full_name", "")), str(company[0]))


def _answer(request: Request, name: str, company: str) -> JSONResponse:
    if not request.headers.get("token"):
        return JSONResponse({"status_code": 401, "message": "Unauthorized"}, 401)
    if "nobody" in name.lower():
        return JSONResponse({"status_code": 404, "message": "Not found"}, 404)
    first, last = _slug(name).split("-")[0], _slug(name).split("-")[-1]
    work = f"{first}.{last}@{_slug(company)}.example"
    number = zlib.crc32(name.encode()) % 100
    profile = {
        "url": f"https://www.linkedin.com/in/{_slug(name)}",
        "email": [work, f"{first}{number}@mail.example"],
        "work_email": work,
        "personal_email": [f"{first}{number}@mail.example"],
        "phone": [f"+1 212 555 01{number:02}"],
        "full_name": name,
        "headline": f"{name} at {company} (sandbox)",
        "company": {"name": company},
    }
    return JSONResponse({"status_code": 200, "profile": profile})


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "unknown"
