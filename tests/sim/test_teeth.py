"""A world without one of the guards is red: the checks see what they are there to see."""

import pytest

from activities.messages import SendGridMail
from models import gate
from models.asking import Rule
from tests.sim.playing import play
from tests.sim.script import Act, Fault, Person, Script

FAILS = Act(0.1, "fail")


def without(rule: str) -> tuple[Rule, ...]:
    """The gate's rules but one."""
    return tuple(each for each in gate.RULES if each.__name__ != rule)


def world(*acts: Act, fault: Fault | None = None, policy: str = "default") -> Script:
    """One customer whose payment fails."""
    return Script(1, policy, (Person("payment"),), (FAILS, *acts), (fault,) if fault else (), 96.0)


@pytest.mark.parametrize(
    ("rule", "script", "seen"),
    [
        ("nothing_new_was_heard", world(fault=Fault("stripe_look", 1, "then:pay")), "begun after invoice.paid was"),
        (
            "it_is_their_working_time",
            world(Act(72.05, "database_down", 0, "10"), policy="contact_rules"),
            "mail outside",
        ),
        ("nothing_is_on_hold", world(Act(2, "hold")), "begun while on hold (all)"),
    ],
)
def test_a_gate_without_one_of_its_rules_is_seen(
    monkeypatch: pytest.MonkeyPatch, rule: str, script: Script, seen: str
) -> None:
    """What the rule is for happens in this world."""
    assert play(script).violation == ""
    monkeypatch.setattr(gate, "RULES", without(rule))
    assert play(script).violation.startswith(seen)


def test_a_mail_that_is_sent_again_when_its_answer_was_lost_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker is killed between the mail and the ledger."""

    async def not_done(*_: object) -> None:
        return None

    script = world(fault=Fault("activity.commit", 8, "crash"))
    assert play(script).violation == ""
    monkeypatch.setattr(SendGridMail, "look_up", not_done)
    assert play(script).violation.startswith("mail sent twice")
