"""What happens to one customer, for every playbook: the worlds in which a process dies at every point.

A playbook without a story of its own gets one by itself: its first starting fact is told of a sample account, and the
run goes on to its end.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from models.customers import Contact, Contract, OfferRow
from tests.crash.hands import Hands
from tests.town import DAY, HOUR
from workers.preview import AHEAD
from workflows import PLAYBOOKS
from workflows.playbook import Playbook
from workflows.steps import name_of

HANDOFF: Final = {
    "goals": "a weekly report for every team",
    "stakeholders": "Max",
    "promised": "single sign-on",
    "terms": "annual",
    "technical_contact": "Tim",
}
Tell = Callable[[Hands], Awaitable[None]]
REFUSED: Final = "insufficient_funds"


@dataclass(frozen=True)
class Story:
    """One story. What it leaves running is brought to its end by whoever tells it."""

    playbook: str
    name: str
    tell: Tell

    def __str__(self) -> str:
        return f"{self.playbook}/{self.name}"


# Payment failure.


async def paid_at_first_retry(hands: Hands) -> None:
    """The card is refused once and then taken."""
    person = await hands.place.customer(REFUSED, "ok")
    await hands.place.arrive()
    hands.start_counting()
    person.invoice = (await hands.place.simulator.cycle(person.subscription))["id"]
    await hands.place.arrive()
    await hands.place.finish(person.case)


async def a_whole_month(hands: Hands) -> None:
    """Nothing helps: suspended, cancelled, and won back by nobody."""
    person = await hands.place.customer(REFUSED)
    await hands.place.arrive()
    hands.start_counting()
    person.invoice = (await hands.place.simulator.cycle(person.subscription))["id"]
    await hands.place.arrive()
    await hands.place.finish(person.case)


async def paid_after_the_restriction(hands: Hands) -> None:
    """The customer pays by the link on day 15."""
    person = await hands.place.payment_fails(REFUSED)
    await hands.place.pass_time(person.case, 15 * DAY)
    hands.start_counting()
    await hands.place.simulator.customer_pays(person.invoice, behaviour={"always": "ok"})
    await hands.place.arrive()


async def a_new_card(hands: Hands) -> None:
    """On day 4 the customer stores a card that is refused, and then one that is taken."""
    person = await hands.place.payment_fails(REFUSED)
    await hands.place.pass_time(person.case, 4 * DAY)
    hands.start_counting()
    simulator = hands.place.simulator
    await simulator.replace_card(person.id, number="5555555555554444", behaviour={"always": "generic_decline"})
    await hands.place.arrive()
    await hands.place.pass_time(person.case, HOUR)
    await simulator.replace_card(person.id, number="4000056655665556", behaviour={"always": "ok"})
    await hands.place.arrive()


async def a_second_invoice(hands: Hands) -> None:
    """A second invoice fails on day 5 and joins the case; then both are paid."""
    person = await hands.place.payment_fails(REFUSED)
    await hands.place.pass_time(person.case, 5 * DAY)
    hands.start_counting()
    second = (await hands.place.simulator.cycle(person.subscription))["id"]
    await hands.place.arrive()
    await hands.place.pass_time(person.case, HOUR)
    for invoice in (second, person.invoice):
        await hands.place.simulator.customer_pays(invoice, behaviour={"always": "ok"})
        await hands.place.arrive()


async def paid_after_the_suspension(hands: Hands) -> None:
    """The customer comes back and pays when the run is over."""
    person = await hands.place.payment_fails(REFUSED)
    # Not `finish`: Stripe's clock has to go along, or the payment would be older than the suspension.
    await hands.place.pass_time(person.case, 31 * DAY)
    hands.start_counting()
    await hands.place.simulator.customer_pays(person.invoice, behaviour={"always": "ok"})
    await hands.place.arrive()


# Usage.


async def used_less(hands: Hands) -> None:
    """A moderate decline that nobody answers."""
    account = await hands.account(segment="mid", health=80)
    today = hands.today()
    await hands.use(account, "activity", 10, days=(-28, -14), today=today)
    await hands.use(account, "activity", 6, days=(-14, 40), today=today)
    hands.start_counting()
    await hands.start("usage.declined", account, value="moderate")


async def used_half_as_much(hands: Hands) -> None:
    """A severe decline: a call, a plan, a training, an executive."""
    account = await hands.account(segment="mid", mrr=200_000, health=40)
    today = hands.today()
    await hands.use(account, "activity", 10, days=(-28, -14), today=today)
    await hands.use(account, "activity", 2, days=(-14, 40), today=today)
    hands.start_counting()
    run = await hands.start("usage.declined", account, value="severe")
    await run.to_day(6)
    await run.finish()


async def accepted_an_offer(hands: Hands) -> None:
    """The customer accepts a discount, which is given at Stripe."""
    person = await hands.place.customer("ok")
    await hands.place.arrive()
    now = datetime.now(UTC)
    offer = OfferRow(
        key=f"usage-decline/{person.id}/step/1",
        account_id=person.id,
        case_id=f"usage-decline/{person.id}",
        pct=20,
        months=3,
        made_at=now,
        expires_at=now + timedelta(days=14),
    )
    await hands.add(offer)
    hands.start_counting()
    await hands.accept(offer.key)


# Renewal, card, onboarding, win-back.


async def with_contract(hands: Hands, *, health: int) -> tuple[str, str]:
    """An account with a contract and people, renewed in 120 days."""
    account = await hands.account(segment="enterprise", mrr=200_000, health=health)
    day = (datetime.now(UTC) + AHEAD).date()
    contract = Contract(id=f"con-{account}", account_id=account, renews_on=day, value=1_200_000, state="active")
    people = [
        Contact(id=f"{role}-{account}", account_id=account, role=role, name="Max", email=f"{role}@{account}.test")
        for role in ("champion", "sponsor")
    ]
    await hands.add(contract, *people)
    return account, f"{contract.id}/{day.isoformat()}"


async def signed_in_time(hands: Hands) -> None:
    """A renewal that is signed a month before its date."""
    account, subject = await with_contract(hands, health=80)
    hands.start_counting()
    run = await hands.start("renewal.ahead", account, subject=subject)
    await run.to_day(95)
    await run.hear("contract.signed", subject=subject.partition("/")[0])


async def never_signed(hands: Hands) -> None:
    """A renewal at risk that lapses."""
    account, subject = await with_contract(hands, health=30)
    hands.start_counting()
    await hands.start("renewal.ahead", account, subject=subject)


async def card_expires(hands: Hands) -> None:
    """A card that nobody replaces."""
    day = (datetime.now(UTC) + timedelta(days=40)).date()
    account = await hands.account(card_last4="4242", card_expires_on=day)
    hands.start_counting()
    await hands.start("card.expiring", account, subject=f"{account}/{day.isoformat()}")


async def by_themselves(hands: Hands) -> None:
    """A self-service customer who does nothing for a week, and then everything."""
    account = await hands.account(segment="starter", signed_up_at=datetime.now(UTC))
    hands.start_counting()
    run = await hands.start("user.signed_up", account)
    await run.to_day(8)
    await run.hear("onboarding.completed")


async def white_glove(hands: Hands) -> None:
    """A large customer, a person for each session, and at home after four days."""
    account = await hands.account(segment="enterprise", signed_up_at=datetime.now(UTC), health=80)
    hands.start_counting()
    run = await hands.start("handoff.completed", account, **HANDOFF)
    await run.to_day(4)
    await run.hear("onboarding.completed")


async def somebody_writes(hands: Hands) -> None:
    """A large customer left; a person reaches out, and they say no."""
    account = await hands.account(segment="mid", mrr=200_000, churned_at=datetime.now(UTC))
    hands.start_counting()
    run = await hands.start("subscription.cancelled", account)
    await run.to_day(hands.place.policy.default.winback.outreach_day)
    await hands.done(run, "Reach out to a customer who left", "declined")


TOLD: Final[tuple[tuple[str, Tell], ...]] = (
    ("payment-failure", paid_at_first_retry),
    ("payment-failure", a_whole_month),
    ("payment-failure", paid_after_the_restriction),
    ("payment-failure", a_new_card),
    ("payment-failure", a_second_invoice),
    ("reinstatement", paid_after_the_suspension),
    ("usage-decline", used_less),
    ("usage-decline", used_half_as_much),
    ("accepted-offer", accepted_an_offer),
    ("renewal", signed_in_time),
    ("renewal", never_signed),
    ("card-expiry", card_expires),
    ("onboarding", by_themselves),
    ("onboarding", white_glove),
    ("win-back", somebody_writes),
)


def sample_story(playbook: type[Playbook]) -> Story:
    """The story of a playbook that nobody wrote one for."""
    start = playbook.starts_on[0]

    async def tell(hands: Hands) -> None:
        account = await hands.account()
        # Of this world's own account: the server is the same for all worlds, and keeps the ids of their runs.
        day = (datetime.now(UTC) + AHEAD).date().isoformat()
        subject = f"{account}/{day}" if playbook.one_for_each_subject else ""
        hands.start_counting()
        named = {"subject": subject} if start.by == "subject" else {"object_id": subject}
        value = start.values[0] if start.values else ""
        await hands.start(start.fact, account, value=value, **named)

    return Story(name_of(playbook), "sample", tell)


def stories() -> tuple[Story, ...]:
    """Every story, in the order of the playbooks; each playbook has one at least."""
    found: list[Story] = []
    for playbook in PLAYBOOKS:
        own = [Story(name, tell.__name__, tell) for name, tell in TOLD if name == name_of(playbook)]
        found.extend(own or [sample_story(playbook)])
    return tuple(found)


PAIRS_OF: Final = "payment-failure/paid_at_first_retry"
"""The story for all pairs: it has a retry, a mail at either end, a closing, and is over after an hour."""
