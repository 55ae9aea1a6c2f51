"""Checks of what is on our side: settings, database, inbox, ledger, disk, the plan lock."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Final

import orjson
from sqlalchemy.engine import make_url
from sqlmodel import col, func, select, text

from models.policy import PolicyFile
from models.tables import STRIPE, UNSETTLED, EffectRow, InboxEvent, TaskRow
from workers import letter_check, migrate, plans
from workers.findings import GIB, Finding, Patient

LATE: Final = timedelta(minutes=1)
STALE: Final = timedelta(minutes=10)


async def settings_are_right(patient: Patient) -> AsyncIterator[Finding]:
    """Every setting is there and well formed."""
    problems = patient.settings.problems()
    for problem in problems:
        what, _, do = problem.partition(": ")
        yield Finding("settings", "wrong", what, do or "correct it in .env or the environment")
    if not problems:
        yield Finding("settings", "well", "every setting that is needed is there and well formed")


async def every_letter_can_be_written(patient: Patient) -> AsyncIterator[Finding]:
    """Every letter has the merge fields that its playbook gives under the policy in force (C15)."""
    policy = PolicyFile.read(patient.settings.holdfast_policy)
    found = await asyncio.to_thread(lambda: sorted(set(letter_check.problems(policy))))
    for each in found:
        yield Finding("letters", "wrong", each, "give the fields in the playbook or the policy, or mend the template")
    if not found:
        yield Finding("letters", "well", "every letter has the fields it needs, in every language")


async def the_database_is_at_the_newest_migration(patient: Patient) -> AsyncIterator[Finding]:
    """The database answers, with the schema this version wants."""
    async with patient.database.reading() as session:
        await session.exec(select(1))
    current, newest = await migrate.revisions(patient.database)
    if current == newest:
        yield Finding("database", "well", f"the database answers and is at the newest migration, {newest}")
    elif current and current > newest:
        yield Finding(
            "database",
            "wrong",
            f"the database is at migration {current}, newer than this version knows ({newest})",
            "deploy the version that wrote it, or go back with that version's `holdfast migrate`",
        )
    else:
        now = f"at migration {current}" if current else "without tables"
        yield Finding("database", "wrong", f"the database is {now}, the newest is {newest}", "run `holdfast migrate`")


async def the_relay_keeps_up(patient: Patient) -> AsyncIterator[Finding]:
    """No row of the inbox has been due for more than a minute."""
    async with patient.database.reading() as session:
        statement = select(func.count(), func.min(InboxEvent.wall_next_try_at)).where(
            InboxEvent.state == "pending", InboxEvent.wall_next_try_at < patient.now() - LATE
        )
        count, oldest = (await session.exec(statement)).one()
        why = (
            await session.exec(
                select(InboxEvent.reason)
                .where(InboxEvent.state == "pending", InboxEvent.reason != "")
                .order_by(col(InboxEvent.id))
            )
        ).first()
    if count:
        reason = f"; the first says: {why}" if why else ""
        yield Finding(
            "relay",
            "wrong",
            f"{count} events are due and not carried, the oldest since {oldest:%Y-%m-%d %H:%M} UTC{reason}",
            "see that `holdfast relay` runs and reaches Temporal and Stripe",
        )
    else:
        yield Finding("relay", "well", "no event is overdue in the inbox")


async def nothing_is_dead_or_parked(patient: Patient) -> AsyncIterator[Finding]:
    """Events that cannot be carried, and those that wait for their account."""
    async with patient.database.reading() as session:
        statement = select(InboxEvent.state, func.count()).where(col(InboxEvent.state).in_(("dead", "parked")))
        counts = dict((await session.exec(statement.group_by(col(InboxEvent.state)))).all())
    if counts.get("dead"):
        do = "`holdfast inbox` gives the reasons; when they are mended, `holdfast inbox retry --dead`"
        yield Finding("inbox", "wrong", f"{counts['dead']} events are dead: nobody could carry them", do)
    if counts.get("parked"):
        do = "load the accounts (`holdfast import accounts`); the events then go on by themselves"
        yield Finding("inbox", "wrong", f"{counts['parked']} events are parked: nobody knows their account", do)
    if not counts:
        yield Finding("inbox", "well", "no event is dead or parked")


async def nothing_is_stuck_or_in_doubt(patient: Patient) -> AsyncIterator[Finding]:
    """Claims older than ten minutes, and effects that wait for a person's word."""
    async with patient.database.reading() as session:
        statement = select(EffectRow.state, func.count(), func.min(EffectRow.key)).where(text(UNSETTLED))
        old = statement.where(EffectRow.wall_claimed_at < patient.now() - STALE)
        found = {state: (n, key) for state, n, key in (await session.exec(old.group_by(col(EffectRow.state)))).all()}
        asked = select(func.count()).where(TaskRow.outcome == "", col(TaskRow.key).endswith("/in_doubt"))
        waiting = (await session.exec(asked)).one()
    if "claimed" in found:
        count, key = found["claimed"]
        yield Finding(
            "claims",
            "wrong",
            f"{count} effects were begun more than ten minutes ago and have no end, such as {key}",
            "see that the relay runs, which asks the provider; `holdfast cases show` has the case",
        )
    if "in_doubt" in found:
        count, key = found["in_doubt"]
        yield Finding(
            "in doubt",
            "wrong" if waiting else "well",
            f"{count} effects are in doubt, such as {key}; {waiting} wait for a person",
            "answer the tasks, or `holdfast cases settle KEY done|not_done`" if waiting else "",
        )
    if not found:
        yield Finding("claims", "well", "no effect is stuck or in doubt")


async def the_events_are_of_the_keys_mode(patient: Patient) -> AsyncIterator[Finding]:
    """The newest event of Stripe's in the inbox is of the mode that the API key is of."""
    async with patient.database.reading() as session:
        statement = select(InboxEvent.body).where(InboxEvent.source == STRIPE).order_by(col(InboxEvent.id).desc())
        body = (await session.exec(statement.limit(1))).first()
    key = "live" if patient.settings.livemode else "test"
    if body is None:
        yield Finding("mode", "well", "no event of Stripe's has come yet")
        return
    said = orjson.loads(body)
    events = "live" if isinstance(said, dict) and said.get("livemode") else "test"
    if events == key:
        yield Finding("mode", "well", f"the Stripe key and the events that come are both of {key} mode")
    else:
        yield Finding(
            "mode",
            "wrong",
            f"STRIPE_API_KEY is of {key} mode, but the newest event in the inbox is of {events} mode",
            "take the key and the endpoint's signing secret from the same mode, and the database that belongs to it",
        )


async def there_is_room_on_the_disk(patient: Patient) -> AsyncIterator[Finding]:
    """Space for SQLite; PostgreSQL's is its own affair."""
    path = make_url(patient.settings.database_url).database
    if not patient.database.is_sqlite or not path:
        yield Finding("disk", "well", "the database is not on this machine's disk")
        return
    free = shutil.disk_usage(Path(path).resolve().parent).free
    if free < patient.least_free:
        do = "make room: when the disk is full, no event is taken and no effect recorded"
        yield Finding("disk", "wrong", f"{free / GIB:.1f} GiB are free where {path} is", do)
    else:
        yield Finding("disk", "well", f"{free / GIB:.0f} GiB are free for the database")


async def the_plans_are_locked(patient: Patient) -> AsyncIterator[Finding]:
    """Every plan that may be asleep somewhere still replays under this version."""
    try:
        # In a thread, for the rehearsal has an event loop of its own.
        await asyncio.to_thread(plans.check, plans.read())
    except plans.PlanChanged as error:
        yield Finding("plans", "wrong", str(error).splitlines()[0], "`holdfast plans check` says what to write instead")
    else:
        yield Finding("plans", "well", "runs that sleep under any locked plan replay under this version")
