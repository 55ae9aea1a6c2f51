"""The plan as data: order, names, and what an outage does to it."""

from datetime import UTC, datetime, timedelta

import pytest

from workflows.payment_failure import PaymentFailure
from workflows.steps import Taken, after_a_quiet_time, on_day, on_hour, ordered, reactions_of, title_of

START = datetime(2026, 11, 2, 9, tzinfo=UTC)


def tell() -> None:
    """Tell them.

    More words that are no title.
    """


def remind() -> None:
    """Remind them."""


def at(days: float) -> datetime:
    return START + timedelta(days=days)


def played(plan: list[float], outage_until: float) -> list[float]:
    """The days on which steps are really taken if nobody takes any between day 1 and `outage_until`."""
    last: Taken | None = None
    taken = []
    for day in plan:
        due = after_a_quiet_time(at(day), last)
        now = max(due, at(outage_until)) if due > at(1) else due
        last = Taken(planned=at(day), at=now)
        taken.append(round((now - START) / timedelta(days=1), 2))
    return taken


def test_without_an_outage_the_plan_holds() -> None:
    plan = [0, 1 / 24, 3, 7, 8, 10, 14, 30]
    assert played(plan, outage_until=0) == [round(day, 2) for day in plan]


def test_after_an_outage_overdue_steps_keep_a_quiet_time_and_then_the_plan_holds_again() -> None:
    taken = played([0, 1 / 24, 3, 7, 8, 10, 14, 30], outage_until=12)
    assert taken == [0, 0.04, 12.0, 12.83, 13.67, 14.5, 15.33, 30.0]


def test_steps_of_one_hour_keep_their_hour_and_no_quiet_day() -> None:
    late = Taken(planned=at(0), at=at(5))
    assert after_a_quiet_time(at(1 / 24), late) == at(5) + timedelta(hours=1)


def test_p0_2_steps_are_ordered_by_day_and_same_day_steps_as_written() -> None:
    steps = [on_day(7, remind), None, on_hour(1, tell), on_day(0, tell, name="first"), on_day(7, tell, name="b")]
    plan = ordered(steps)
    assert [step.name for step in plan] == ["first", "tell", "remind", "b"]
    assert [step.title for step in plan][:2] == ["Day 0: Tell them.", "Hour 1: Tell them."]


def test_two_steps_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two steps are called tell: give one of them name="):
        ordered([on_day(0, tell), on_day(3, tell)])


def test_the_title_is_the_first_line() -> None:
    assert title_of(tell) == "Tell them."


def test_reactions_are_found_by_their_mark() -> None:
    assert reactions_of(PaymentFailure) == {
        "owner.changed": "take_in_the_new_owner",
        "payment_method.updated": "try_the_new_card",
        "subject.joined": "take_in_another_invoice",
    }
