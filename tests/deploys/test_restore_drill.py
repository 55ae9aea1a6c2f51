"""The database is lost and an older copy is put back: what came since is brought back, and nothing is done twice."""

import asyncio
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import psycopg
from sqlalchemy.engine import make_url

from models.stripe_events import READERS
from models.tables import CaseRow, EffectRow
from tests.activities.test_lost_answers import batch, carried_out, case_of, charge, mail
from tests.town import DAY, Town
from tests.workers.test_reconcile import sides
from workers.audit import audit
from workers.reconcile import Found, reconcile

Restore = Callable[[], Awaitable[None]]


async def back_up(place: Town, folder: Path) -> Restore:
    """A copy of the database while it is written to, as an operator makes it; gives the way to put it back."""
    url = make_url(place.database.engine.url.render_as_string(hide_password=False))
    if place.database.is_sqlite:
        path, copy = Path(str(url.database)), folder / "copy.db"

        def copied() -> None:
            with sqlite3.connect(path) as source, sqlite3.connect(copy) as target:
                source.backup(target, pages=5, sleep=0.001)
            source.close()
            target.close()

        await asyncio.to_thread(copied)

        async def put_back() -> None:
            await place.database.close()
            for each in path.parent.glob(f"{path.name}*"):
                each.unlink()
            path.write_bytes(copy.read_bytes())

        return put_back
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"))
    plain = url.set(drivername="postgresql")
    dump = folder / "copy.dump"

    def ran(program: str, *arguments: str) -> None:
        subprocess.run([str(programs / program), *arguments], check=True, capture_output=True)

    await asyncio.to_thread(ran, "pg_dump", "-Fc", "-f", str(dump), plain.render_as_string(hide_password=False))

    async def put_back_dump() -> None:
        await place.database.close()
        admin = plain.set(database="postgres").render_as_string(hide_password=False)
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {url.database} WITH (FORCE)")
            connection.execute(f"CREATE DATABASE {url.database}")
        target = plain.render_as_string(hide_password=False)
        await asyncio.to_thread(ran, "pg_restore", "--no-owner", "-d", target, str(dump))

    return put_back_dump


async def reconciled(place: Town) -> Found:
    """`holdfast reconcile --apply`."""
    return await reconcile(sides(place), lambda difference: None, lambda name: None, place.relay)


async def by_day(place: Town, case: str) -> dict[float, list[str]]:
    """What was done on which day; what was found again is dated anew, so its order within a day is another."""
    return {day: sorted(lines) for day, lines in (await place.calendar(case)).items()}


async def test_an_older_copy_is_put_back_and_nothing_is_charged_or_mailed_twice(
    either_place: Town, tmp_path: Path
) -> None:
    place = either_place
    going_on = await place.payment_fails("insufficient_funds")
    recovering = await place.payment_fails("insufficient_funds", "ok")
    await place.pass_time(going_on.case, timedelta(hours=1))
    put_back, during = await asyncio.gather(back_up(place, tmp_path), place.payment_fails("lost_card"))
    # What the copy does not have: a charge and mails of one run, the end of another, a whole new case, a restriction.
    await place.pass_time(going_on.case, 15 * DAY)
    await place.finish(recovering.case)
    after = await place.payment_fails("insufficient_funds")
    await place.pass_time(after.case, 4 * DAY)
    calendars = {each.case: await by_day(place, each.case) for each in (going_on, recovering, during, after)}
    mails, attempts = await place.simulator.mailbox(), await place.simulator.ledger()
    events = {row.event_id for row in await place.inbox(source="stripe") if row.type in READERS}
    rows = Counter((row.step, row.kind, row.state) for row in await place.rows(EffectRow))

    async with place.no_worker():  # worker and relay are stopped, as docs/guarantees.md says
        await put_back()
        assert len(await place.rows(EffectRow)) < sum(rows.values())
        assert await place.rows(CaseRow, id=after.case) == []
        first = await reconciled(place)
        assert first.differences["event missing"] > 0
        assert {"case lost", "ledger row lost", "charge not on record"} <= first.differences.keys()
        assert (await reconciled(place)).differences == {}
        assert (await place.simulator.mailbox(), await place.simulator.ledger()) == (mails, attempts)
        assert {row.event_id for row in await place.inbox(source="stripe") if row.type in READERS} == events
        assert {case: await by_day(place, case) for case in calendars} == calendars
        assert Counter((row.step, row.kind, row.state) for row in await place.rows(EffectRow)) == rows

    # Life goes on where it was.
    await place.simulator.customer_pays(going_on.invoice, behaviour={"always": "ok"})
    await place.arrive()
    assert (await place.finish(going_on.case)).outcome == "recovered_after_restriction"
    assert (await place.finish(after.case)).outcome == "suspended"
    assert (await place.case(recovering.case)).outcome == "recovered_by_retry"
    assert (await place.simulator.received())[recovering.invoice] == 2900
    sent = Counter((each["to"][0], each["subject"]) for each in await place.simulator.mailbox())
    assert [mail for mail, times in sent.items() if times > 1] == []
    keys = Counter(each["idempotency_key"] for each in await place.simulator.ledger() if each["by"] == "api")
    assert [key for key, times in keys.items() if key and times > 1] == []
    report = await audit(place.database, client=place.client, billing=place.billing)
    assert report.violations == []


async def test_of_a_step_in_flight_at_the_loss_the_charge_is_replayed_and_the_mail_goes_again_which_nobody_promises(
    either_place: Town, tmp_path: Path
) -> None:
    place = either_place
    person = await case_of(place, "insufficient_funds", "do_not_honor")
    put_back = await back_up(place, tmp_path)
    in_flight = batch(person, charge(person), mail(person))
    await carried_out(place, in_flight)
    await put_back()
    # Temporal never heard that the step was done, so the step is tried again on a ledger that knows nothing of it.
    await carried_out(place, in_flight)
    assert await place.charges(person) == ["insufficient_funds", "do_not_honor"]
    assert len(await place.simulator.mailbox()) == 2
