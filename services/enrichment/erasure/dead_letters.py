"""Dead letters about a prospect: a request that could not be handled names the person in clear."""

from __future__ import annotations

from uuid import UUID

from nats.aio.client import Client
from nats.js.errors import NotFoundError

from chassis.messaging import DEAD_LETTER_PREFIX

STREAM = "DEAD_LETTERS"
SUBJECTS = f"{DEAD_LETTER_PREFIX}.prospect.enrich.>"


async def erase_letters(client: Client, tenant_id: UUID, prospect_id: UUID) -> None:
    """Delete a tenant's dead letters that name a prospect, also those whose body is broken."""
    jetstream, sequence = client.jetstream(), 1
    ids = [str(each).encode() for each in (tenant_id, prospect_id)]
    while True:
        try:
            letter = await jetstream.get_msg(STREAM, seq=sequence, subject=SUBJECTS, next=True)
        except NotFoundError:
            return
        found = letter.seq or sequence
        body = (letter.data or b"").lower()
        if all(each in body for each in ids):
            await jetstream.delete_msg(STREAM, found)
        sequence = found + 1
