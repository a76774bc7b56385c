"""Events that name in clear who is erased: requests that wait, and dead letters."""

from __future__ import annotations

from uuid import UUID

from nats.aio.client import Client

from chassis.messaging import DEAD_LETTER_PREFIX, DEAD_LETTERS, erase_stored
from services import topology

REQUESTS = topology.REQUESTS_STREAM
ERASED = topology.ENRICHMENT_ERASED
LETTERS = f"{DEAD_LETTER_PREFIX}.prospect.enrich.>"


async def erase_prospect_events(client: Client, tenant_id: UUID, prospect_id: UUID) -> None:
    """Delete a tenant's requests and dead letters about a prospect, also those that are broken.

    A request that waits would bring the prospect back.
    """
    names = str(tenant_id), str(prospect_id)
    for subject in REQUESTS.subjects:
        await erase_stored(client, REQUESTS.name, subject, *names)
    await erase_stored(client, DEAD_LETTERS, LETTERS, *names)


async def erase_user_letters(client: Client, tenant_id: UUID, user_id: UUID) -> None:
    """Delete dead letters of a user's requests, and those of the user's own erasure."""
    names = str(tenant_id), str(user_id)
    for subject in REQUESTS.subjects:
        await erase_stored(client, DEAD_LETTERS, f"{DEAD_LETTER_PREFIX}.{subject}", *names)
    erasures = f"{DEAD_LETTER_PREFIX}.{ERASED.subject}"
    await erase_stored(client, DEAD_LETTERS, erasures, *names, ERASED.name)
