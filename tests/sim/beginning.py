"""How a world begins: everybody is a customer with a card that has paid once."""

from datetime import date, timedelta
from typing import Final

from models.customers import Contact, Contract
from models.tables import Account
from simulator import lifecycle, stripe_objects
from simulator.world import CUSTOMER
from tests.sim.clock import BEGIN
from tests.sim.world import Customer, World

DAY: Final = timedelta(days=1)


async def begin(world: World) -> None:
    """Everybody is a customer with a card that has paid once; what we know of them otherwise is loaded."""
    stripe = world.stripe
    world.clock.now = BEGIN - DAY  # the first payment is history, which no sweep looks at
    for number, about in enumerate(world.script.people):
        told = {"csm": "ana", "segment": about.segment, "mrr": str(about.mrr), "timezone": about.zone}
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
        subscribe(world, customer)
        await _load(world, customer)
    world.clock.now = BEGIN


def subscribe(world: World, who: Customer) -> None:
    """They subscribe, and pay for the first month."""
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
                timezone=about.zone,
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
