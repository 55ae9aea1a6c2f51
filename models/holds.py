"""The stop switch: everything, one playbook or one account waits, and is let go on without a burst."""

from datetime import timedelta
from typing import Final, Literal

from sqlmodel import and_, col, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from models.asking import Asked, Held
from models.cases import Banner, Deal, Effect, Risk, SetAccess, Task, Tell
from models.contact_rows import Deferral, Hold
from models.hours import spread
from models.tables import wall

Scope = Literal["all", "playbook", "account"]
ASK_AGAIN: Final = (timedelta(minutes=15), timedelta(hours=6))
"""How often what waits asks whether it may go on: sooner at first, for each time is two billable actions."""
SPREAD_MINUTES: Final = 60
LONGEST_SPREAD: Final = timedelta(days=7)


class NotOnHold(LookupError):
    """There is nothing to release."""


def leaves(effect: Effect) -> bool:
    """Whether an effect leaves the house. Rows of ours do not; nor is what was taken away kept back from a customer:
    access given back, a banner taken down."""
    if isinstance(effect, SetAccess):
        return effect.level != "full"
    if isinstance(effect, Banner):
        return bool(effect.template)
    return not isinstance(effect, Task | Risk | Tell | Deal)


async def nothing_is_on_hold(asked: Asked) -> Held | None:
    """What leaves waits while it is on hold; after the release, what waited is spread over some time."""
    if not leaves(asked.effect):
        return None
    now = asked.batch.now
    statement = select(Hold).where(
        or_(
            Hold.scope == "all",
            and_(Hold.scope == "playbook", Hold.name == asked.batch.playbook),
            and_(Hold.scope == "account", Hold.name == asked.batch.account),
        ),
        or_(col(Hold.wall_released_at).is_(None), col(Hold.wall_released_at) > now - LONGEST_SPREAD),
    )
    holds = (await asked.session.exec(statement.order_by(col(Hold.id)))).all()
    standing = next((each for each in holds if each.wall_released_at is None), None)
    if standing:
        soonest, longest = ASK_AGAIN
        pause = min(max((now - standing.wall_placed_at) / 4, soonest), longest)
        what = f"{standing.scope} {standing.name}".strip()
        why = f": {standing.reason}" if standing.reason else ""
        return Held("on_hold", f"{what} on hold since {standing.wall_placed_at:%d %b %Y, %H:%M} UTC{why}", now + pause)
    if not holds or not await _has_waited(asked):
        return None
    latest = max(
        each.wall_released_at + spread(asked.effect.key, each.spread_minutes) for each in holds if each.wall_released_at
    )
    return Held("on_hold", "released; what waited is spread", latest) if latest > now else None


async def _has_waited(asked: Asked) -> bool:
    statement = select(Deferral.id).where(Deferral.key == asked.effect.key, Deferral.rule == "on_hold")
    return (await asked.session.exec(statement)).first() is not None


async def place(session: AsyncSession, scope: Scope, name: str, by: str, reason: str = "") -> tuple[Hold, bool]:
    """Put something on hold. The hold that stands, and whether this call placed it."""
    known = await _standing(session, scope, name)
    if known:
        return known, False
    row = Hold(scope=scope, name=name, placed_by=by, reason=reason)
    session.add(row)
    await session.flush()
    return row, True


async def release(
    session: AsyncSession, scope: Scope, name: str, by: str, spread_minutes: int = SPREAD_MINUTES
) -> Hold:
    """Let it go on; what waited goes out over `spread_minutes`.

    Raises:
        NotOnHold: no such hold stands.
    """
    row = await _standing(session, scope, name)
    if row is None:
        standing = ", ".join(f"{each.scope} {each.name}".strip() for each in await standing_holds(session))
        what = f"{scope} {name}".strip()
        raise NotOnHold(f"{what} is not on hold; on hold: {standing or 'nothing'}")
    row.released_by, row.wall_released_at, row.spread_minutes = by, wall(), spread_minutes
    session.add(row)
    return row


async def standing_holds(session: AsyncSession) -> list[Hold]:
    """Every hold that is not released, the oldest first."""
    statement = select(Hold).where(col(Hold.wall_released_at).is_(None)).order_by(col(Hold.id))
    return list((await session.exec(statement)).all())


async def _standing(session: AsyncSession, scope: str, name: str) -> Hold | None:
    statement = select(Hold).where(Hold.scope == scope, Hold.name == name, col(Hold.wall_released_at).is_(None))
    return (await session.exec(statement.with_for_update())).first()
