"""Single worlds that tell of a defect once found: what happens in them, exactly."""

import pytest

from tests.sim.playing import play
from tests.sim.script import Act, Fault, Person, Script

LONG = 24 * 33.0


@pytest.mark.parametrize(("act", "left"), [("pay", "won_back"), ("void", "")])
def test_p1_13_an_open_win_back_does_not_keep_a_settled_account_suspended(act: str, left: str) -> None:
    """Win-back begins with the suspension, and is open when the money comes; it gives nothing back."""
    acts = (Act(0.1, "fail"), Act(24 * 31.0, act))
    played = play(Script(1, "default", (Person("suspended"),), acts, (), LONG))
    assert played.violation == ""
    expected = {"payment-failure: suspended": 1, "reinstatement: reinstated": 1}
    assert played.endings == expected | ({f"win-back: {left}": 1} if left else {})


def test_p0_17_a_reminder_that_an_outage_kept_until_the_evening_waits_for_the_morning() -> None:
    """The database goes away in the morning of day 3 and is back at 19:00; the step's own moment was 09:06."""
    acts = (Act(0.1, "fail"), Act(72.05, "database_down", 0, "10"))
    played = play(Script(1, "contact_rules", (Person("payment"),), acts, (), 96.0))
    assert played.violation == ""
    assert played.fired == {"database_down": 1}


def test_p1_14_a_dispute_that_we_hear_of_during_a_look_stops_the_charge_that_follows() -> None:
    """The run hears of it only after the batch; the look that the gate asks for has to see it by itself."""
    faults = (Fault("stripe_look", 2, "then:dispute"),)
    played = play(Script(1, "default", (Person("payment"),), (Act(0.1, "fail"),), faults, 24.0))
    assert played.violation == ""
    assert played.endings == {"payment-failure: disputed": 1}
    assert played.fired == {"stripe_look:then:dispute": 1}


def test_thanks_for_money_that_came_while_on_hold_go_out_after_the_release() -> None:
    """The case has ended by then, and its run is still there for what is owed."""
    acts = (Act(0.1, "fail"), Act(2, "hold"), Act(3, "pay"), Act(30, "release"))
    played = play(Script(1, "default", (Person("payment"),), acts, (), 48.0))
    assert played.violation == ""
    assert played.endings == {"payment-failure: recovered_by_customer": 1}
