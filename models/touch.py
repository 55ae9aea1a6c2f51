"""What makes an effect a contact with a customer, and the rule about the hours in which one is made (P0.17)."""

from datetime import datetime
from hashlib import blake2b
from typing import Final

from sqlmodel.ext.asyncio.session import AsyncSession

from models.asking import Asked, Held, Touch
from models.cases import Banner, Batch, Effect, Email
from models.hours import spread, window_of
from models.picture import Picture
from models.policy import Policy
from models.tables import Account

REQUIRED: Final = "required_notice"
WITHIN: Final = "contact_rules"
"""Under which rule the ledger keeps a contact that was made."""


async def touch_of(
    session: AsyncSession, batch: Batch, effect: Effect, picture: Picture, policy: Policy
) -> Touch | None:
    """The contact an effect makes; None for what no customer sees, and for a banner that is taken down."""
    if not isinstance(effect, Email | Banner) or not effect.template:
        return None
    person = picture.person(effect.to) if isinstance(effect, Email) else None
    account = await session.get(Account, batch.account)
    zones = (person.timezone if person else "", account.timezone if account else "")
    return Touch(
        nature="required" if effect.notice else "marketing" if effect.marketing else "service",
        window=window_of(policy.hours, *zones),
        reader=reader_of(person.email) if person else "",
        notice=effect.notice,
        at_once=isinstance(effect, Banner) or effect.at_once,
    )


def reader_of(address: str) -> str:
    """One name for whoever reads an address, at however many accounts it stands; not the address itself."""
    return blake2b(address.strip().lower().encode(), digest_size=8).hexdigest() if address else ""


async def it_is_their_working_time(asked: Asked) -> Held | None:
    """Mail goes out 09:00 to 17:00 on working days where the reader is; what has to be said at once is (P0.17).

    A banner is read whenever they come. What is owed at the end answers something that has just happened.
    """
    touch = asked.touch
    if touch is None or touch.at_once or asked.parting:
        return None
    now, opens = asked.batch.now, touch.window.next_open(asked.batch.now)
    if opens == now:
        return None
    # All that waited for the morning would go in its first second.
    until = opens + spread(asked.effect.key, asked.policy.hours.spread_minutes)
    is_workday = touch.window.works(touch.window.day_of(now))
    why = "is outside working hours" if is_workday else "is not a working day"
    return Held("hours", f"{_there(touch, now)} {why}", until)


def why_it_went(asked: Asked) -> tuple[str, str]:
    """Rule and reason the ledger keeps of a contact that is made: nothing held it back, or nothing may."""
    touch = asked.touch
    if touch is None:
        return "", ""
    when = _there(touch, asked.batch.now)
    if touch.nature == "required":
        how = ", said at once" if touch.at_once or asked.parting else ""
        return REQUIRED, f"a {touch.notice} notice: no cap and no other playbook holds it back{how}; {when}"
    return WITHIN, f"{touch.nature}, within caps and hours; {when}"


def _there(touch: Touch, moment: datetime) -> str:
    """The moment on the reader's clock, in words."""
    return f"{moment.astimezone(touch.window.zone):%a %d %b, %H:%M} in {touch.window.zone.key}"
