"""The inbox: ids are forgotten when no event can come with them any more."""

from __future__ import annotations

import uuid

from chassis import inbox
from chassis.database import Pool, role_transaction, tenant_transaction
from tests.harness import Database

ADD = """
insert into activity.inbox (tenant_id, consumer, event_id, handled_at)
select gen_random_uuid(), 'c', gen_random_uuid(), now() - make_interval(days => $1)
from generate_series(1, $2::int)
"""
AGES = "select distinct extract(day from now() - handled_at)::int as days from activity.inbox"
ROLE = "activity_relay"


async def test_ids_of_every_tenant_are_forgotten_after_forty_days_and_no_earlier(
    database: Database, pool: Pool
) -> None:
    for days, number in ((0, 3), (39, 4), (41, inbox.DELETE_ROWS + 5)):
        await database.fetch(ADD, days, number)
    assert await inbox.forget_old(pool, ROLE) == inbox.DELETE_ROWS + 5
    assert {row["days"] for row in await database.fetch(AGES)} == {0, 39}


async def test_the_role_that_forgets_sees_no_younger_id(database: Database, pool: Pool) -> None:
    await database.fetch(ADD, 39, 1)
    async with role_transaction(pool, ROLE) as connection:
        assert await connection.fetchval("select count(*) from inbox") == 0
        assert await connection.execute("delete from inbox") == "DELETE 0"


async def test_an_event_comes_first_once_for_each_tenant_and_consumer(pool: Pool) -> None:
    tenant, other, event = (uuid.uuid4() for _ in range(3))

    async def first(of: uuid.UUID, consumer: str) -> bool:
        async with tenant_transaction(pool, of) as connection:
            return await inbox.first_time(connection, of, consumer, event)

    asked = [(tenant, "c"), (tenant, "c"), (tenant, "d"), (other, "c")]
    assert [await first(*each) for each in asked] == [True, False, True, True]
