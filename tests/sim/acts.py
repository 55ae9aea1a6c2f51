"""What people do in a world: customers, leads, operators. What does not apply at the moment does not happen."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Final

from models.doubts import effect_asked_about
from models.health.alerts import NAMES
from models.rules import RULES
from simulator import billing, issuer, lifecycle
from simulator.world import CUSTOMER, Caller
from tests.sim.beginning import subscribe
from tests.sim.clock import BEGIN
from tests.sim.script import Act
from tests.sim.world import Customer, World

Doing = Callable[[World, Customer, Act], Awaitable[None] | None]
DOES: Final[dict[str, Doing]] = {}
DASHBOARD: Final = Caller(by="dashboard")
DAY: Final = timedelta(days=1)
RESTS_S: Final = 3600


def act(*names: str) -> Callable[[Doing], Doing]:
    """Register what is done under these names."""

    def register(do: Doing) -> Doing:
        DOES.update(dict.fromkeys(names, do))
        return do

    return register


# Money.


@act("fail")
def payment_fails(world: World, who: Customer, _: Act) -> None:
    """The next month begins; the card answers as it answers."""
    subscription = world.stripe.get("subscription", who.subscription)
    if subscription["status"] != "canceled":
        who.invoices.append(lifecycle.cycle(world.stripe, subscription)["id"])


def _open(world: World, who: Customer) -> dict[str, Any] | None:
    invoices = (world.stripe.get("invoice", each) for each in who.invoices)
    return next((each for each in invoices if each["status"] in ("open", "uncollectible")), None)


@act("pay")
def pay(world: World, who: Customer, _: Act) -> None:
    """The customer pays on the page, with another card."""
    invoice = _open(world, who)
    if invoice:
        card = lifecycle.new_card(world.stripe, "4000056655665556", {"always": "ok"})
        lifecycle.customer_pays(world.stripe, invoice, card)


@act("card", "bad_card")
def replace_card(world: World, who: Customer, what: Act) -> None:
    """The customer stores another card."""
    answer = {"always": "ok"} if what.what == "card" else {"script": ["generic_decline", "insufficient_funds"]}
    number = "4111111111111111" if what.what == "card" else "4012888888881881"
    card = lifecycle.new_card(world.stripe, number, issuer.check_behaviour(answer))
    lifecycle.replace_card(world.stripe, world.stripe.get("customer", who.id), card)


@act("authenticate")
def authenticate(world: World, who: Customer, what: Act) -> None:
    """The customer confirms the payment at the bank."""
    invoice = _open(world, who)
    if invoice:
        lifecycle.authenticate(world.stripe, invoice, success=what.arg != "2")


@act("out_of_band")
def out_of_band(world: World, who: Customer, _: Act) -> None:
    """The money comes by transfer."""
    invoice = _open(world, who)
    if invoice:
        billing.pay_out_of_band(world.stripe, invoice, DASHBOARD)


@act("void", "write_off")
def give_up_the_invoice(world: World, who: Customer, what: Act) -> None:
    """Somebody of the merchant's gives the invoice up."""
    invoice = _open(world, who)
    if invoice and what.what == "void":
        lifecycle.void_invoice(world.stripe, invoice, DASHBOARD)
    elif invoice:
        lifecycle.mark_uncollectible(world.stripe, invoice, DASHBOARD)


@act("refund", "dispute")
def take_back(world: World, who: Customer, what: Act) -> None:
    """The last charge that took money is refunded or disputed."""
    mine = [entry for entry in world.successes() if entry.customer == who.id]
    if mine and what.what == "refund":
        lifecycle.refund(world.stripe, world.stripe.get("charge", mine[-1].charge), None, {}, DASHBOARD)
    elif mine:
        lifecycle.open_dispute(world.stripe, world.stripe.get("charge", mine[-1].charge), "fraudulent")


@act("cancel")
def cancel(world: World, who: Customer, _: Act) -> None:
    """The customer leaves."""
    lifecycle.cancel_subscription(world.stripe, world.stripe.get("subscription", who.subscription), CUSTOMER)


@act("reactivate")
def reactivate(world: World, who: Customer, _: Act) -> None:
    """The customer is back, with a subscription of its own."""
    if world.stripe.get("subscription", who.subscription)["status"] == "canceled":
        subscribe(world, who)


# What the company's own systems say.


def _told(kind: str, **data: Any) -> Doing:
    async def tell(world: World, who: Customer, what: Act) -> None:
        await world.door.tell(kind, who.id, **data)

    return tell


@act("low")
async def health_falls(world: World, who: Customer, what: Act) -> None:
    """A scan finds the account in a low band."""
    value = ("at_risk", "critical")[int(what.arg) % 2]
    await world.door.tell("health.band_changed", who.id, value=value, object="h1")


@act("signal")
async def a_sign(world: World, who: Customer, what: Act) -> None:
    """Somebody saw a sign that they may leave."""
    await world.door.tell("risk.raised", who.id, value=NAMES[int(what.arg) % len(NAMES)])


@act("rule")
async def a_rule(world: World, who: Customer, what: Act) -> None:
    """A scan finds that a rule holds."""
    rule = RULES[int(what.arg) % len(RULES)].name
    await world.door.tell("rule.crossed", who.id, value=rule, subject=f"{who.id}:{rule}/2026-03")


HANDOFF: Final = dict.fromkeys(("goals", "stakeholders", "promised", "terms", "technical_contact"), "something")
ITEMS: Final = ("profile", "first_report", "first_value", "team_invited", "integration")
TOLD: Final[dict[str, Doing]] = {
    "sign_up": _told("user.signed_up"),
    "handoff": _told("handoff.completed", **HANDOFF),
    "training": _told("training.booked"),
    "cancel_request": _told("cancel.requested"),
    "unsubscribe": _told("contact.unsubscribed"),
    "trial": _told("trial.started"),
    "upgrade": _told("plan.upgraded"),
    "trial_cancel": _told("trial.cancelled"),
    "health": _told("health.scored", value="20"),
}
DOES.update(TOLD)


@act("step_done")
async def step_done(world: World, who: Customer, _: Act) -> None:
    """They finish the next item of the checklist."""
    who.done += 1
    await world.door.tell("onboarding.step_done", who.id, value=ITEMS[who.done % len(ITEMS)])


@act("contract_sent", "contract_signed", "renewal_lost", "date_changed")
async def contract(world: World, who: Customer, what: Act) -> None:
    """Something becomes of the contract."""
    if not who.contract:
        return
    later = str((BEGIN + (who.about.renews_in + 14) * DAY).date())
    said: dict[str, tuple[str, dict[str, Any]]] = {
        "contract_sent": ("contract.sent", {}),
        "contract_signed": ("contract.signed", {"amount": 1_500_000}),
        "renewal_lost": ("renewal.lost", {}),
        "date_changed": ("renewal_date.changed", {"value": later}),
    }
    kind, data = said[what.what]
    await world.door.tell(kind, who.id, subject=who.contract, **data)


@act("accept", "decline")
async def answer_an_offer(world: World, who: Customer, what: Act) -> None:
    """The customer answers the newest offer that is open."""
    rows = world.database.rows(
        "SELECT key FROM offers WHERE account_id = ? AND state = 'made' ORDER BY made_at DESC, key", who.id
    )
    if rows:
        kind = "offer.accepted" if what.what == "accept" else "offer.declined"
        await world.door.tell(kind, who.id, object=rows[0][0])


@act("task_done")
async def finish_a_task(world: World, who: Customer, _: Act) -> None:
    """A person finishes a task that a run waits for, in the list of tasks."""
    rows = world.database.rows(
        "SELECT key, answers FROM tasks WHERE account_id = ? AND outcome = '' AND answers != '' ORDER BY key", who.id
    )
    if rows:
        key, answers = rows[0]
        value = answers.split()[0]
        if effect := effect_asked_about(key):
            # Whoever is asked what became of a mail looks, and says what is so.
            value = "done" if any(mail.custom_args["effect"] == effect for mail in world.mails) else "not_done"
        await world.door.tell("task.done", who.id, object=key, value=value)
