"""ContactOut's case: see case.py."""

from __future__ import annotations

import httpx

from services.enrichment.sources.call import ErrorClass, SourceCall
from services.enrichment.sources.catalogue import SourceName
from services.enrichment.sources.contactout import ContactOut
from services.enrichment.sources.findings import Contact
from tests.enrichment.sources.case import ADAMS, KEY, NOW, Case, Source


def make(url: str, client: httpx.AsyncClient, seconds: float) -> Source:
    return ContactOut(client, url, KEY, clock=lambda: NOW, seconds=seconds)


CASE = Case(
    SourceName.CONTACTOUT,
    make,
    SourceCall(ADAMS, {}, "name_and_company"),
    example=lambda where: Contact(
        "Ada Lovelace", "", "Analytical Engines", "", ("ada@engines.example",), (), (), where
    ),
    names_people=True,
    cost=300_000,
    classes={
        "403": ErrorClass.QUOTA,
        "quota": ErrorClass.QUOTA,
        "stranger": ErrorClass.WRONG_PERSON,
        "error_body": ErrorClass.TRANSIENT,  # it says 500 inside
    },
)
