"""How far back a source looks is the tenant's to say; what it looked through in vain is told."""

from __future__ import annotations

import uuid

from devstack import servers
from services.enrichment.policy.policy import Policy, SourcePolicy
from services.enrichment.sources.call import Answer
from services.enrichment.sources.catalogue import SourceName
from tests.enrichment.engine import Sources, engine
from tests.harness import Database

SEC = SourceName.SEC
NOTE = "no trades of the person in the company's 12 filings since 2025-11-24"


async def test_the_policy_reaches_the_source_and_its_answer_is_told_again(
    database: Database, nats_server: servers.Nats
) -> None:
    sources = Sources(answers={SEC: Answer(None, note=NOTE)})
    policy = Policy(sources={SEC: SourcePolicy(look_back_days=730)})
    prospect_id = uuid.uuid4()
    dsn = database.dsn("enrichment_app")
    async with engine(dsn, nats_server.url, sources, policy=policy) as one:
        _, first = await one.enriched(prospect_id=prospect_id)
        _, second = await one.enriched(prospect_id=prospect_id)
    assert {call.look_back_days for call in sources.asked if call.look_back_days} == {730}
    assert first[SEC].reason == NOTE
    assert second[SEC].reused
    assert second[SEC].reason.endswith(f": {NOTE}")
