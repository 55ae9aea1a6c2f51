"""Who holds the floor while an account has several runs (P0.8), and no favours from those in trouble (P0.9)."""

from datetime import timedelta

from sqlmodel import col, select

from models.asking import COUNTS, Asked, Held, waits_since
from models.cases import Email, Offer, Task
from models.tables import CaseRow, EffectRow
from models.urgency import ORDER, TROUBLE, URGENT, more_urgent_than


async def nobody_more_urgent_speaks(asked: Asked) -> Held | None:
    """While a more urgent run of the account holds the floor, others keep their days but say nothing (P0.8).

    What they would say is dropped, or waits for `precedence.wait_days` at most where the playbook says so. What is
    required is said all the same.
    """
    speaks = isinstance(asked.effect, Offer) or (asked.touch is not None and asked.touch.nature != "required")
    before = more_urgent_than(asked.batch.precedence)
    if not speaks or not before:
        return None
    for case in await _open(asked, before):
        if case.precedence not in URGENT and not await _spoke_lately(asked, case):
            continue
        said = f"suppressed: {case.playbook} holds the floor"
        rules = asked.policy.precedence
        if asked.parting or asked.batch.gives_way == "drop":
            return Held("precedence", said)
        since = await waits_since(asked, "precedence")
        if asked.batch.now - since >= timedelta(days=rules.wait_days):
            return Held("precedence", f"{said}, and has for {rules.wait_days} days")
        return Held("precedence", said, asked.batch.now + timedelta(days=1))
    return None


async def no_favours_in_trouble(asked: Asked) -> Held | None:
    """No upsell, referral, review or reference is asked for while the account is in trouble (P0.9)."""
    if not isinstance(asked.effect, Email | Task) or not asked.effect.favour:
        return None
    trouble = await _open(asked, TROUBLE)
    if not trouble:
        return None
    return Held("no_favours", f"no {asked.effect.favour} while {trouble[0].playbook} is open")


async def _open(asked: Asked, precedences: tuple[str, ...]) -> list[CaseRow]:
    """The account's other open cases of these kinds, the most urgent first."""
    statement = select(CaseRow).where(
        CaseRow.account_id == asked.batch.account,
        col(CaseRow.ended).is_(False),
        CaseRow.id != asked.batch.case,
        col(CaseRow.precedence).in_(precedences),
    )
    found = (await asked.session.exec(statement)).all()
    return sorted(found, key=lambda case: (ORDER.index(case.precedence), case.id))


async def _spoke_lately(asked: Asked, case: CaseRow) -> bool:
    since = asked.batch.now - timedelta(days=asked.policy.precedence.floor_days)
    statement = select(EffectRow.key).where(
        EffectRow.case_id == case.id,
        EffectRow.nature != "",
        col(EffectRow.state).in_(COUNTS),
        EffectRow.at > since,
    )
    return (await asked.session.exec(statement)).first() is not None
