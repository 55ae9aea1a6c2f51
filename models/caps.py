"""How much a person and an account may hear of us, over all playbooks and channels (T4.2)."""

from collections import Counter
from datetime import date, timedelta
from typing import Final

from sqlmodel import col, func, select

from models.asking import COUNTS, Asked, Held, one_at_a_time, waits_since
from models.cases import Banner, Email
from models.hours import spread
from models.tables import EffectRow

DAY: Final = timedelta(days=1)
WEEK: Final = 7
MONTH: Final = 30


async def the_caps_hold(asked: Asked) -> Held | None:
    """So many marketing mails for a person and contacts for an account, a day and in any seven days (T4.2).

    Counted by the date on the reader's calendar, in the transaction that claims. What is over waits for the first day
    with room, but not for longer than `caps.wait_days`; then it is dropped, for by then it is stale.
    """
    touch, caps = asked.touch, asked.policy.caps
    if touch is None or touch.nature != "marketing":
        return None
    await one_at_a_time(asked, asked.batch.account)
    today = touch.window.day_of(asked.batch.now)
    limits = [(await _days(asked, today, ""), caps.account_day, caps.account_week, "the account")]
    if isinstance(asked.effect, Email) and touch.reader:
        await one_at_a_time(asked, f"reader {touch.reader}")
        heard = await _days(asked, today, touch.reader)
        limits.insert(0, (heard, caps.contact_day, caps.contact_week, "this person"))
    over = next((each for each in limits if _is_full(today, *each[:3])), None)
    if over is None:
        return None
    free = next(
        day
        for day in (today + DAY * number for number in range(1, WEEK + 1))
        if not any(_is_full(day, *each[:3]) for each in limits)
    )
    heard, a_day, a_week, who = over
    said = f"{who} heard {heard[today]} today and {heard.total()} in seven days; {a_day} and {a_week} is the most"
    if asked.parting:
        return Held("caps", said)
    until = touch.window.start_of(free) + spread(asked.effect.key, asked.policy.hours.spread_minutes)
    if until - await waits_since(asked, "caps") > DAY * caps.wait_days:
        return Held("caps", f"{said}, and there is no room within {caps.wait_days} days")
    return Held("caps", said, until)


async def no_message_too_often(asked: Asked) -> Held | None:
    """Some messages go to an account so many times in 30 days at most, whichever run has them (T4.1)."""
    effect = asked.effect
    if not isinstance(effect, Email | Banner) or not effect.template:
        return None
    most = asked.policy.caps.month.get(effect.template)
    if most is None:
        return None
    await one_at_a_time(asked, asked.batch.account)
    statement = select(func.count()).where(
        EffectRow.account_id == asked.batch.account,
        col(EffectRow.what)["template"].as_string() == effect.template,
        col(EffectRow.state).in_(COUNTS),
        EffectRow.at > asked.batch.now - DAY * MONTH,
        EffectRow.key != effect.key,
    )
    heard = (await asked.session.exec(statement)).one()
    return Held("frequency", f"{heard} in {MONTH} days; {most} is the most of this message") if heard >= most else None


async def _days(asked: Asked, today: date, reader: str) -> Counter[date]:
    """How many contacts were made on each of the last seven days: with a reader by marketing mail, else all of an
    account's that no law asked for."""
    statement = (
        select(EffectRow.contact_on, func.count())  # type: ignore[type-var]
        .where(
            col(EffectRow.contact_on) > today - DAY * WEEK,
            col(EffectRow.state).in_(COUNTS),
            EffectRow.key != asked.effect.key,
        )
        .group_by(col(EffectRow.contact_on))
    )
    if reader:
        statement = statement.where(EffectRow.reader == reader, EffectRow.nature == "marketing")
    else:
        mine = EffectRow.account_id == asked.batch.account
        statement = statement.where(mine, col(EffectRow.nature).in_(("marketing", "service")))
    return Counter({day: count for day, count in (await asked.session.exec(statement)).all() if day})


def _is_full(day: date, heard: Counter[date], a_day: int, a_week: int) -> bool:
    week = sum(count for on, count in heard.items() if day - DAY * WEEK < on <= day)
    return heard[day] >= a_day or week >= a_week
