"""Migrations up and down while a process of the version before goes on writing."""

import asyncio
from typing import Any

from alembic.script import ScriptDirectory
from sqlalchemy import Row, text
from sqlalchemy.exc import OperationalError

from models.database import Database
from workers import migrate

FIRST = "0001"
EVENT = """INSERT INTO inbox (source, event_id, type, kind, account_id, subject, object_id, at_stake, currency,
    occurred_at, api_version, body, state, reason, tries, wall_received_at, wall_next_try_at)
    VALUES ('stripe', :id, 'invoice.paid', 'invoice.paid', 'cus_1', :id, '', 0, 'usd', :at, '', :body, 'pending', '', 0,
    :at, :at)"""
EFFECT = """INSERT INTO effects (key, case_id, account_id, playbook, step, kind, title, what, state, rule, reason,
    detail, at, wall_claimed_at) VALUES (:id, 'c', 'cus_1', 'p', 's', 'email', 't', '{}', 'claimed', '', '', '{}', :at,
    :at)"""
ACCOUNT = """INSERT INTO accounts (id, name, email, locale, timezone, owner, segment, strategic, mrr, wall_updated_at)
    VALUES (:id, '', '', '', '', '', '', :no, 0, :at)"""
TASK = """INSERT INTO tasks (key, account_id, case_id, owner, title, body, opened_at, due_at, outcome)
    VALUES (:id, 'cus_1', 'c', 'ana', 't', '', :at, :at, '')"""
CASE = """INSERT INTO cases (id, playbook, account_id, subject, state, ended, started, stage, last_title, next_title,
    at_stake, currency, readings, policy_version, opened_at, outcome, reason)
    VALUES (:id, 'payment-failure', 'cus_1', :id, 'ended', :yes, :yes, '', '', '', 0, 'usd', '{}', 'default', :at,
    'paid', '')"""
"""What the first version's processes write, column by column, whatever the tables of today have."""
WRITTEN = {"inbox": EVENT, "effects": EFFECT, "accounts": ACCOUNT, "tasks": TASK, "cases": CASE}


def revisions() -> list[str]:
    """Every migration, the first first."""
    script = ScriptDirectory(str(migrate.MIGRATIONS))
    return [revision.revision for revision in script.walk_revisions()][::-1]


class OldProcess:
    """A receiver and a worker of the first version: they insert until they are told to stop, and count what is kept."""

    def __init__(self, database: Database) -> None:
        self._url = database.engine.url.render_as_string(hide_password=False)
        self.kept = 0
        self._stop = asyncio.Event()

    async def work(self) -> None:
        """Insert a row of every kind, each time in a transaction of its own."""
        database = Database(self._url)
        while not self._stop.is_set():
            names = {"id": f"x{self.kept}", "at": "2026-11-25 00:00:00+00:00", "body": b"{}", "yes": True, "no": False}
            try:
                async with database.engine.begin() as connection:
                    for statement in WRITTEN.values():
                        wanted = {name: value for name, value in names.items() if f":{name}" in statement}
                        await connection.execute(text(statement), wanted)
            except OperationalError as error:
                # A deadlock with the migration: Stripe sends again, Temporal tries again.
                assert getattr(error.orig, "sqlstate", "") == migrate.DEADLOCK
                continue
            self.kept += 1
            await asyncio.sleep(0)
        await database.close()

    async def has_written(self, more: int) -> None:
        """Wait until so many more transactions are kept."""
        wanted = self.kept + more
        while self.kept < wanted:
            await asyncio.sleep(0.005)

    def stop(self) -> None:
        """End after the transaction under way."""
        self._stop.set()


async def count(database: Database, table: str) -> int:
    async with database.engine.connect() as connection:
        row: Row[Any] = (await connection.execute(text(f"SELECT count(*) FROM {table}"))).one()
        return int(row[0])


async def test_every_migration_goes_up_and_down_under_the_writes_of_the_first_version(bare: Database) -> None:
    await migrate.upgrade(bare, FIRST)
    old = OldProcess(bare)
    working = asyncio.create_task(old.work())
    every = revisions()
    for revision in [*every[1:], *every[-2::-1], every[-1]]:
        await old.has_written(3)
        current, _ = await migrate.revisions(bare)
        move = migrate.upgrade if revision > current else migrate.downgrade
        moving = asyncio.create_task(move(bare, revision))
        await asyncio.wait({moving, working}, return_when=asyncio.FIRST_COMPLETED)
        assert not working.done() or working.exception() is None, working.exception()
        await moving
        assert (await migrate.revisions(bare))[0] == revision
    await old.has_written(3)
    old.stop()
    await working
    assert [await count(bare, table) for table in WRITTEN] == [old.kept] * len(WRITTEN)
    assert await migrate.differences(bare) == []
