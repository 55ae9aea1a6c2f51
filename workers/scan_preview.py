"""What a scan would start, as the router would say, with nothing written: the look before history is loaded."""

from collections import Counter
from typing import Any

from sqlmodel.ext.asyncio.session import AsyncSession

from activities.findings import KINDS, Page
from activities.scans import HOUR, Scans, Turns, turns
from models.database import Database
from models.scans import Found, Scan
from models.tables import InboxEvent, wall
from workers.routing import IS_OPEN, RESTS, TOO_OLD, Router, StartRun
from workflows.steps import name_of

HELD: tuple[tuple[str, str], ...] = (("too_old", TOO_OLD), ("in_cool_down", RESTS), ("open_already", IS_OPEN))


async def preview(database: Database, scans: Scans, router: Router, scan: Scan) -> dict[str, Any]:
    """Counts, by name. `starts` by playbook, `starts_by_hour` from now on, and why the rest would start nothing.

    `other` is what nobody starts a run for: no playbook listens, or the playbook refuses the account.
    """
    now = wall()
    async with database.reading() as session:
        order = await turns(session, KINDS[scan.which], scans.policy.default.starts.per_hour, now)
    tally, starts, hours, values = Counter[str](), Counter[str](), Counter[int](), Counter[str]()
    found = Found()
    async for page in scans.pages(scan, found):
        found = found.plus(_counted(page))
        async with database.reading() as session:
            try:
                await _foresee(session, router, page, order, tally, starts, hours, values)
            finally:
                await session.rollback()
    moments = {hour: hours[hour] for hour in sorted(hours)}
    return {
        "scan": scan.which,
        "day": scan.day.isoformat(),
        "accounts": found.accounts,
        "found": found.found,
        "new": sum(values.values()),
        "new_by_severity": {value: count for value, count in sorted(values.items()) if value},
        "starts": dict(sorted(starts.items())),
        "starts_by_hour": [
            {"from": (now + hour * HOUR).isoformat(timespec="minutes"), "runs": count}
            for hour, count in moments.items()
        ],
        **{name: tally[name] for name in ("too_old", "in_cool_down", "open_already", "other")},
        "fell_long_since": found.long_since,
        "signals_raised": found.raised,
        "signals_cleared": found.cleared,
    }


def _counted(page: Page) -> Found:
    return Found(
        accounts=page.accounts,
        found=page.found,
        long_since=page.long_since,
        raised=len(page.raised),
        cleared=len(page.cleared),
    )


async def _foresee(
    session: AsyncSession,
    router: Router,
    page: Page,
    order: Turns,
    tally: Counter[str],
    starts: Counter[str],
    hours: Counter[int],
    values: Counter[str],
) -> None:
    """Route each new fact in a transaction that is rolled back, so that it is the router itself that answers."""
    for event in page.events:
        turn = order.next()
        order.take()
        values[event.value] += 1
        route = await router.route(session, _copy(event))
        started = [each for each in route.deliveries if isinstance(each, StartRun)]
        for each in started:
            starts[name_of(each.playbook)] += 1
            hours[int((turn - order.now) / HOUR)] += 1
        if not started:
            tally[next((name for name, why in HELD if why in route.reason), "other")] += 1


def _copy(event: InboxEvent) -> InboxEvent:
    """The same event, known to no session."""
    return InboxEvent(**event.model_dump())
