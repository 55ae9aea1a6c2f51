"""What people do in a world: customers, leads, operators. What does not apply at the moment does not happen."""

import contextlib
from collections.abc import Awaitable, Callable
from datetime import UTC, date, timedelta
from typing import Any, Final

from temporalio.testing import ActivityEnvironment

from models.customers import Contact, Contract
from models.doubts import effect_asked_about
from models.scans import Scan
from models.tables import Account
from simulator import billing, issuer, lifecycle, stripe_objects
from simulator.errors import ApiError
from simulator.world import CUSTOMER, Caller
from tests.sim.clock import BEGIN
from tests.sim.runs import Run
from tests.sim.script import Act
from tests.sim.world import Customer, World
from workers.sweep import sweep

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


async def do(world: World, what: Act) -> None:
    """Do it, as far as Stripe lets them."""
    with contextlib.suppress(ApiError):
        happens = DOES[what.what](world, world.people[what.who % len(world.people)], what)
        if happens is not None:
            await happens


async def begin(world: World) -> None:
    """Everybody is a customer with a card that has paid once; what we know of them otherwise is loaded."""
    stripe = world.stripe
    world.clock.now = BEGIN - DAY  # the first payment is history, which no sweep looks at
    for number, about in enumerate(world.script.people):
        told = {"csm": "ana", "segment": about.segment, "mrr": str(about.mrr)}
        person = stripe.add(
            stripe_objects.customer(stripe, {"email": f"zoe{number}@example.com", "name": "Zoe", "metadata": told})
        )
        month = 2 + about.expires_in
        card = lifecycle.new_card(
            stripe,
            about.number,
            {"script": ["ok", *about.answers]},
            month if about.expires_in else 12,
            2026 if about.expires_in else 2034,
        )
        card["customer"] = person["id"]
        person["invoice_settings"]["default_payment_method"] = card["id"]
        customer = Customer(about, person["id"])
        world.people.append(customer)
        _subscribe(world, customer)
        await _load(world, customer)
    world.clock.now = BEGIN


def _subscribe(world: World, who: Customer) -> None:
    stripe = world.stripe
    product = stripe.add(stripe_objects.product(stripe, {"name": "Pro"}))
    price = {"currency": "usd", "unit_amount": who.about.mrr, "recurring": {"interval": "month"}}
    made = stripe.add(stripe_objects.price(stripe, price, product["id"]))
    subscription = stripe.add(stripe_objects.subscription(stripe, {"customer": who.id}, [(made, 1)]))
    who.subscription = subscription["id"]
    stripe.emit("customer.subscription.created", subscription, CUSTOMER)
    lifecycle.start_period(stripe, subscription, "subscription_create", CUSTOMER)


async def _load(world: World, who: Customer) -> None:
    about, today = who.about, BEGIN.date()
    async with world.database.writing() as session:
        session.add(
            Account(
                id=who.id,
                name="Zoe",
                email="zoe@example.com",
                company="Acme",
                owner="ana",
                segment=about.segment,
                mrr=about.mrr,
                health=about.health if about.health >= 0 else None,
                signed_up_at=BEGIN - 400 * DAY,
                opted_out_at=BEGIN - DAY if about.opted_out else None,
                card_expires_on=date(2026, 3, 31) if about.expires_in else None,
                card_last4="4242",
            )
        )
        session.add(Contact(id=f"{who.id}-c", account_id=who.id, name="Max", email="max@example.com"))
        if about.renews_in:
            who.contract = f"{who.id}-k"
            session.add(
                Contract(id=who.contract, account_id=who.id, renews_on=today + about.renews_in * DAY, value=1_200_000)
            )
    if about.falls_on < 99:
        days = [
            (who.id, str(today + day * DAY), 30 if about.falls_on <= day < about.back_on else 100)
            for day in range(-70, 45)
        ]
        rows = [(account, metric, day, count) for account, day, count in days for metric in ("activity", "login")]
        world.database.raw.executemany("INSERT INTO usage_days VALUES (?, ?, ?, ?)", rows)


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
        _subscribe(world, who)


# What the company's own systems say.


def _told(kind: str, **data: Any) -> Doing:
    async def tell(world: World, who: Customer, what: Act) -> None:
        await world.tell(kind, who.id, **data)

    return tell


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
    await world.tell("onboarding.step_done", who.id, value=ITEMS[who.done % len(ITEMS)])


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
    await world.tell(kind, who.id, subject=who.contract, **data)


@act("accept", "decline")
async def answer_an_offer(world: World, who: Customer, what: Act) -> None:
    """The customer answers the newest offer that is open."""
    rows = world.database.rows(
        "SELECT key FROM offers WHERE account_id = ? AND state = 'made' ORDER BY made_at DESC, key", who.id
    )
    if rows:
        kind = "offer.accepted" if what.what == "accept" else "offer.declined"
        await world.tell(kind, who.id, object=rows[0][0])


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
        await world.tell("task.done", who.id, object=key, value=value)


@act("usage_scan", "renewal_scan", "card_scan")
async def scan(world: World, who: Customer, what: Act) -> None:
    """A daily scan runs."""
    which: Any = {"usage_scan": "usage", "renewal_scan": "renewals", "card_scan": "cards"}[what.what]
    asked = Scan(which=which, day=world.clock.now.date(), window=1000)
    if not world.database_down and not world.temporal.away:
        await ActivityEnvironment().run(world.rig.our.scans.scan, asked)


# Leads.


def _a_run(world: World, who: Customer, what: Act) -> Run | None:
    mine = [run for run in world.temporal.runs.values() if run.case.account == who.id and not run.closed]
    return mine[int(what.arg or 0) % len(mine)] if mine else None


@act("pause", "resume", "snooze", "skip", "end", "answer")
async def steer(world: World, who: Customer, what: Act) -> None:
    """A lead says something to a run."""
    run = _a_run(world, who, what)
    if run is None or world.temporal.away or world.temporal.worker_down:
        return
    arguments: tuple[Any, ...] = ()
    if what.what == "snooze":
        arguments = (3,)
    if what.what in ("skip", "answer"):
        world.temporal.in_cache(run)
        if run.code is None:
            return
    if what.what == "skip":
        ahead = run.code._ahead()
        arguments = (ahead[min(1, len(ahead) - 1)].name,) if ahead else ("nothing",)
        world.skipped.add((run.case.id, arguments[0]))
    if what.what == "answer":
        asked = sorted(run.code._open_tasks)
        question = run.code._questions.get(asked[0]) if asked else None
        arguments = (asked[0].split("/")[-2], question.answers[0]) if question else ("nothing", "done")
    world.temporal.update(run, what.what, *arguments)


# Operators, and what befalls them.


@act("temporal_down", "database_down", "workers_down")
def outage(world: World, _: Customer, what: Act) -> None:
    """Something is away for some hours."""
    world.fired[what.what] += 1
    if what.what == "temporal_down":
        world.temporal.away = True
    elif what.what == "database_down":
        world.database_down = True
    else:
        world.temporal.worker_down = True
        world.temporal.crash()

    async def over() -> None:
        if what.what == "temporal_down":
            world.temporal.away = False
        elif what.what == "database_down":
            world.database_down = False
        else:
            world.temporal.worker_up()

    world.clock.after(int(what.arg or 1) * 3600, f"{what.what} is over", over)


@act("kill_workers", "deploy", "terminate")
def to_the_workers(world: World, who: Customer, what: Act) -> None:
    """Workers are killed, get new code, or somebody presses Terminate."""
    world.fired[what.what] += 1
    if what.what == "kill_workers":
        world.temporal.crash()
    elif what.what == "deploy":
        world.temporal.deploy()
    else:
        run = _a_run(world, who, what)
        if run:
            world.temporal.terminate(run)


@act("sweep")
async def sweeps(world: World, _: Customer, __: Act) -> None:
    """The hourly sweep."""
    if not world.database_down:
        since = int((world.clock.now - timedelta(days=30)).astimezone(UTC).timestamp())
        with contextlib.suppress(Exception):
            await sweep(world.database, world.rig.our.stripe, livemode=False, since=since)
