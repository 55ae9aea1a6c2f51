"""What a world is made of: people, what they and others do, and where something breaks. All of it from one number."""

import random
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

Dice = random.Random


@dataclass(frozen=True)
class Person:
    """A customer: what they pay and use, and how their card answers after its first payment."""

    story: str
    segment: str = "starter"
    mrr: int = 2900
    answers: tuple[str, ...] = ("insufficient_funds",)
    number: str = "4242424242424242"
    falls_on: int = 99
    """The day on which their use falls to a third."""
    back_on: int = 99
    renews_in: int = 0
    expires_in: int = 0
    health: int = -1
    opted_out: bool = False
    zone: str = ""


@dataclass(frozen=True)
class Act:
    """Something that happens, so many hours after the beginning."""

    at_h: float
    what: str
    who: int = 0
    arg: str = ""


@dataclass(frozen=True)
class Fault:
    """The `nth` time that we come by `where`, it goes wrong in this way."""

    where: str
    nth: int
    kind: str


@dataclass(frozen=True)
class Script:
    """One world."""

    seed: int
    policy: str
    people: tuple[Person, ...]
    acts: tuple[Act, ...]
    faults: tuple[Fault, ...]
    hours: float
    shows_mails: bool = False
    """Whether SendGrid's activity was bought."""

    def to_json(self) -> dict[str, Any]:
        """For a file."""
        return asdict(self)


def from_json(said: dict[str, Any]) -> Script:
    """From a file."""
    people = tuple(Person(**{**each, "answers": tuple(each["answers"])}) for each in said["people"])
    acts, faults = tuple(Act(**each) for each in said["acts"]), tuple(Fault(**each) for each in said["faults"])
    return Script(said["seed"], said["policy"], people, acts, faults, said["hours"], said.get("shows_mails", False))


PROVIDER: Final = ("429", "500_before", "500_after", "503", "cut_before", "cut_after")
DATABASE: Final = {"statement": ("error", "crash"), "commit": ("error", "crash"), "committed": ("error", "crash")}
BETWEEN: Final = ("pay", "cancel", "card", "void", "dispute", "refund", "fail")
"""What other people may do while we are on the line to Stripe."""
FIRST: Final = tuple(f"first:{act}" for act in BETWEEN)
THEN: Final = tuple(f"then:{act}" for act in BETWEEN)
FAULTS: Final[dict[str, tuple[int, tuple[str, ...]]]] = {
    "stripe": (8, (*PROVIDER, "slow", "frozen", *FIRST, *THEN)),
    "stripe_look": (25, ("429", "500_before", "503", "cut_before", "slow", *THEN)),
    "sendgrid": (5, PROVIDER),
    "sendgrid_look": (2, ("429", "503", "cut_before")),
    "product": (2, ("503", "500_before", "500_after", "cut_before", "cut_after", "frozen")),
    "temporal": (10, ("lost_answer",)),
    "webhook": (15, ("duplicate", "late", "lost", "out_of_order")),
    "activity.statement": (300, DATABASE["statement"]),
    "activity.commit": (60, DATABASE["commit"]),
    "activity.committed": (60, DATABASE["committed"]),
    "relay.statement": (120, DATABASE["statement"]),
    "relay.commit": (30, DATABASE["commit"]),
    "relay.committed": (30, DATABASE["committed"]),
}
"""Where something can break: about how often a world comes by, and in which ways. Each has to strike (`make sim`)."""
OUTAGES: Final = ("temporal_down", "database_down", "workers_down", "kill_workers", "deploy", "terminate", "hold")
"""Acts that are faults, too."""


DAYS: Final = (1, 8, 16, 36)
LONG: Final = DAYS[-1]


def script_of(seed: int) -> Script:
    """The world of a seed."""
    dice = Dice(seed)
    days = dice.choices(DAYS, (14, 4, 1, 1))[0]
    people = tuple(
        _person(dice, days) for _ in range(dice.choices((1, 2, 3, 4), (14, 2, 1, 0) if days > 1 else (9, 4, 1, 1))[0])
    )
    acts = [act for who, person in enumerate(people) for act in STORIES[person.story](dice, who)]
    acts += [_anything(dice, days, len(people)) for _ in range(dice.randrange(4))]
    acts += [_outage(dice, days) for _ in range(dice.choices((0, 1, 2, 3), (3, 3, 2, 1))[0])]
    hours = days * 24.0
    acts = sorted((act for act in acts if act.at_h <= hours), key=lambda act: act.at_h)
    faults = [_fault(dice) for _ in range(dice.randrange(9))]
    if days == LONG and any(person.story == "suspended" for person in people):
        faults.append(_fault(dice, "product"))  # which nobody else comes by so often
    policy = dice.choices(("default", "contact_rules", "observe", "later_cancel"), (5, 3, 1, 1))[0]
    return Script(seed, policy, people, tuple(acts), tuple(faults), hours, dice.random() < 0.5)


def _person(dice: Dice, days: int) -> Person:
    # What takes weeks to come about is left to the worlds that last so long.
    weights = WEIGHTS | {"suspended": 12 if days == LONG else 0, "offer": 8 if days >= DAYS[2] else 0}
    story = dice.choices(tuple(STORIES), tuple(weights[name] for name in STORIES))[0]
    answers = tuple(dice.choice(DECLINES) for _ in range(dice.randrange(1, 4)))
    if dice.random() < 0.4:
        answers = (*answers, "ok")
    person = Person(
        story,
        segment=dice.choice(("starter", "mid", "enterprise", "")),
        mrr=dice.choice((900, 2900, 9900, 500_000)),
        answers=answers,
        number=dice.choice(("4242424242424242", "5555555555554444")),
        health=dice.choice((-1, 30, 80)),
        opted_out=dice.random() < 0.2,
        zone=dice.choice(("", "America/New_York", "Asia/Tokyo")),
    )
    if story in ("usage", "offer"):
        falls = dice.randrange(-16, -3)
        person = replace(person, falls_on=falls, back_on=dice.choice((99, 99, 10, 16)))
        return replace(person, health=30, opted_out=False) if story == "offer" else person
    if story == "renewal":
        return replace(person, renews_in=dice.choice((3, 20, 40, 61, 89, 100, 118)))
    if story == "card":
        return replace(person, expires_in=1)
    return person


DECLINES: Final = (
    "insufficient_funds",
    "insufficient_funds",
    "generic_decline",
    "do_not_honor",
    "lost_card",
    "expired_card",
    "authentication_required",
    "processing_error",
)


def _payment(dice: Dice, who: int) -> list[Act]:
    acts = [Act(dice.uniform(0, 20), "fail", who)]
    for what in ("pay", "card", "bad_card", "fail", "refund", "dispute", "void", "cancel", "authenticate", "write_off"):
        if dice.random() < (0.35 if what in ("pay", "card") else 0.12):
            acts.append(Act(dice.uniform(0, dice.choice((3, 24, 24 * 9, 24 * 34))), what, who))
    return acts


def _suspended(dice: Dice, who: int) -> list[Act]:
    late = dice.choice(("pay", "void", "write_off", "fail", "out_of_band"))
    return [Act(0.1, "fail", who), Act(24 * dice.uniform(30.2, 35), late, who), Act(24 * 35.5, "reactivate", who)]


def _usage(dice: Dice, who: int) -> list[Act]:
    acts = [Act(dice.uniform(0, 40), "usage_scan", who)]
    acts += [Act(24 * dice.uniform(0, 20), "usage_scan", who) for _ in range(2)]
    for what in ("training", "cancel_request", "cancel", "accept", "decline", "answer", "health"):
        if dice.random() < 0.25:
            acts.append(Act(24 * dice.uniform(0, 20), what, who))
    return acts


def _offer(dice: Dice, who: int) -> list[Act]:
    acts = [Act(1, "usage_scan", who)]
    acts += [Act(24 * day + dice.random(), "accept", who, str(dice.randrange(2))) for day in (14.3, 16, 22.5)]
    return [*acts, Act(24 * 13.9, "answer", who), Act(24 * 14.1, "answer", who)]


def _renewal(dice: Dice, who: int) -> list[Act]:
    acts = [Act(dice.uniform(0, 30), "renewal_scan", who), Act(24 * dice.uniform(1, 9), "renewal_scan", who)]
    for what in ("contract_sent", "contract_signed", "date_changed", "renewal_lost", "answer", "health", "cancel"):
        if dice.random() < 0.3:
            acts.append(Act(24 * dice.uniform(0, 30), what, who))
    return acts


def _onboarding(dice: Dice, who: int) -> list[Act]:
    acts = [Act(dice.uniform(0, 5), "sign_up", who), Act(dice.uniform(2, 30), "handoff", who)]
    acts += [Act(24 * dice.uniform(0, 12), "step_done", who) for _ in range(dice.randrange(5))]
    return [*acts, Act(24 * dice.uniform(0, 12), dice.choice(("cancel", "answer", "unsubscribe")), who)]


def _card(dice: Dice, who: int) -> list[Act]:
    acts = [Act(dice.uniform(0, 30), "card_scan", who), Act(24 * dice.uniform(5, 20), "card_scan", who)]
    return [*acts, Act(24 * dice.uniform(0, 30), dice.choice(("card", "cancel", "fail")), who)]


def _trial(dice: Dice, who: int) -> list[Act]:
    acts = [Act(dice.uniform(0, 5), "trial", who)]
    if dice.random() < 0.5:
        acts.append(Act(24 * dice.uniform(0, 14), dice.choice(("upgrade", "trial_cancel", "unsubscribe")), who))
    return acts


def _winback(dice: Dice, who: int) -> list[Act]:
    acts = [Act(dice.uniform(0, 5), "cancel", who)]
    for what in ("reactivate", "unsubscribe", "accept", "decline", "answer"):
        if dice.random() < 0.35:
            acts.append(Act(24 * dice.uniform(0, 30), what, who))
    return acts


def _risk(dice: Dice, who: int) -> list[Act]:
    """Health that is low, signs that they may leave, rules that are crossed."""
    acts = [Act(dice.uniform(0, 30), dice.choice(("low", "signal", "rule")), who, str(dice.randrange(9)))]
    for what in ("low", "signal", "signal", "signal", "rule", "answer", "answer", "cancel", "unsubscribe", "fail"):
        if dice.random() < 0.4:
            acts.append(Act(24 * dice.uniform(0, dice.choice((1, 9, 34))), what, who, str(dice.randrange(9))))
    return acts


STORIES: Final[dict[str, Callable[[Dice, int], list[Act]]]] = {
    "payment": _payment,
    "suspended": _suspended,
    "usage": _usage,
    "offer": _offer,
    "renewal": _renewal,
    "onboarding": _onboarding,
    "card": _card,
    "trial": _trial,
    "winback": _winback,
    "risk": _risk,
}
WEIGHTS: Final = {"payment": 12, "suspended": 3, "usage": 2, "offer": 2, "renewal": 2, "onboarding": 2} | {
    "card": 2,
    "trial": 1,
    "winback": 2,
    "risk": 3,
}
LEADS: Final = ("pause", "resume", "snooze", "skip", "end", "answer", "task_done")
ANYBODY: Final = (*LEADS, "pay", "card", "fail", "cancel", "unsubscribe", "sweep", "accept", "reactivate", "release")


def _anything(dice: Dice, days: int, people: int) -> Act:
    return Act(24 * dice.uniform(0, days), dice.choice(ANYBODY), dice.randrange(people), str(dice.randrange(3)))


def _outage(dice: Dice, days: int) -> Act:
    return Act(24 * dice.uniform(0, days), dice.choice(OUTAGES), dice.randrange(4), str(dice.choice((1, 5, 30))))


def _fault(dice: Dice, where: str = "") -> Fault:
    where = where or dice.choices(tuple(FAULTS), [len(kinds) for _, kinds in FAULTS.values()])[0]
    often, kinds = FAULTS[where]
    return Fault(where, 1 + int(often * dice.random() ** 2), dice.choice(kinds))
