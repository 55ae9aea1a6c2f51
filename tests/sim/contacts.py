"""The contact rules, worked out anew from what left: hours, caps, who holds the floor (docs/contact-rules.md)."""

import json
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from models.urgency import URGENT, more_urgent_than
from simulator.sendgrid_api import Mail
from tests.sim.memory import moment_of
from tests.sim.runs import Broken
from tests.sim.world import World

DAY: Final = timedelta(days=1)
STAYS: Final = ("task", "risk", "tell", "deal")
"""Kinds that are rows of ours; a hold does not keep them."""
A_MOMENT: Final = timedelta(minutes=2)
"""From the gate's answer until the mail is out: a slow provider, a worker that stood still."""


def may_be_written_to(world: World, mail: Mail) -> None:
    """A mail has left: its hour, the floor, and how much its reader and their account have heard by now.

    Raises:
        Broken: it should not have.
    """
    key = mail.custom_args["effect"]
    ((account, case, nature, reader, said, claimed, what, zone),) = world.database.rows(
        "SELECT e.account_id, e.case_id, e.nature, e.reader, e.contact_on, e.wall_claimed_at, e.what, a.timezone"
        " FROM effects e JOIN accounts a ON a.id = e.account_id WHERE e.key = ?",
        key,
    )
    owed, at_once = "/ending:" in key, json.loads(what).get("at_once", False)
    if world.rig.policy.default.hours.enabled and not owed and not at_once:
        _in_their_hours(key, moment_of(claimed), world.clock.now, ZoneInfo(zone or "UTC"))
    if nature != "required":
        _nobody_more_urgent(world, key, account, case)
    if nature == "marketing":
        _within_caps(world, key, account, reader, date.fromisoformat(said))


def nothing_on_hold_was_begun(world: World) -> None:
    """No effect that leaves the house was claimed while it was on hold.

    Raises:
        Broken: one was.
    """
    begun = world.database.rows(
        "SELECT e.key, e.kind, e.what, h.scope FROM effects e JOIN holds h ON h.scope = 'all'"
        " OR (h.scope = 'playbook' AND h.name = e.playbook) OR (h.scope = 'account' AND h.name = e.account_id)"
        " WHERE e.state != 'dropped' AND e.wall_claimed_at > h.wall_placed_at"
        " AND (h.wall_released_at IS NULL OR e.wall_claimed_at < h.wall_released_at)"
    )
    for key, kind, what, scope in begun:
        gives_back = json.loads(what).get("level") == "full" or (kind == "banner" and not json.loads(what)["template"])
        if kind not in STAYS and not gives_back:
            raise Broken(f"begun while on hold ({scope}): {key}")


def _in_their_hours(key: str, claimed: datetime, now: datetime, zone: ZoneInfo) -> None:
    there = claimed.astimezone(zone)
    if there.weekday() > 4 or not 9 <= there.hour < 17:
        raise Broken(f"mail outside working hours: {key}, {there:%a %H:%M} in {zone}")
    if now - claimed > A_MOMENT:
        raise Broken(f"mail long after the gate was asked: {key}, {now - claimed}")


def _nobody_more_urgent(world: World, key: str, account: str, case: str) -> None:
    ((mine,),) = world.database.rows("SELECT precedence FROM cases WHERE id = ?", case)
    others = world.database.rows(
        "SELECT id, precedence FROM cases WHERE account_id = ? AND NOT ended AND id != ?", account, case
    )
    for other, precedence in others:
        if precedence in URGENT and precedence in more_urgent_than(mine):
            raise Broken(f"mail though {other} holds the floor: {key}")


def _within_caps(world: World, key: str, account: str, reader: str, on: date) -> None:
    caps = world.rig.policy.default.caps
    heard = world.database.rows(
        "SELECT account_id, reader, nature, contact_on FROM effects WHERE state IN ('claimed', 'done', 'in_doubt')"
        " AND contact_on > ? AND contact_on <= ? AND nature IN ('marketing', 'service')",
        str(on - 7 * DAY),
        str(on),
    )
    theirs = [day for _, who, nature, day in heard if who == reader and nature == "marketing"]
    whole = [day for where, _, _, day in heard if where == account]
    for who, days, a_day, a_week in (
        ("its reader", theirs, caps.contact_day, caps.contact_week),
        ("the account", whole, caps.account_day, caps.account_week),
    ):
        if days.count(str(on)) > a_day or len(days) > a_week:
            raise Broken(f"mail beyond the caps: {key}, {who} heard {days.count(str(on))} today, {len(days)} in a week")
