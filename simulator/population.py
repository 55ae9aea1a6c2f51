"""People for the demo: who they are, how their cards answer, and what they do on which day."""

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import stripe

from simulator.running import SimulatorControl

DAY_S: Final = 86_400
SOFT: Final = ("insufficient_funds", "generic_decline", "do_not_honor", "issuer_not_available")
HARD: Final = ("lost_card", "stolen_card", "expired_card", "pickup_card")
AUTHENTICATION: Final = "authentication_required"
NAMES: Final = ("Ada", "Ben", "Cleo", "Dora", "Emil", "Finn", "Grete", "Hugo", "Iris", "Jan", "Kaya", "Lena", "Milo")
ANOTHER_CARD: Final = "4000056655665556"
CSMS: Final = ("ana", "bo", "chi")


@dataclass(frozen=True)
class Persona:
    """A kind of customer: the decline class, how the card answers after the first decline, what they do and when."""

    name: str
    decline: str
    share: int
    then: tuple[str, ...] = ()
    act: str = ""
    day: float = 0


PERSONAS: Final = (
    Persona("money is back within the hour", "soft", 8, then=("ok",)),
    Persona("money is back after three days", "soft", 6, then=("", "ok")),
    Persona("money is back after a week", "soft", 4, then=("", "", "ok")),
    Persona("pays through the link", "soft", 4, act="pay", day=5.2),
    Persona("brings a new card", "soft", 2, act="replace_card", day=9.2),
    Persona("pays once restricted", "soft", 2, act="pay", day=18.2),
    Persona("never pays", "soft", 4),
    Persona("brings a new card", "hard", 7, act="replace_card", day=2.2),
    Persona("pays through the link", "hard", 3, act="pay", day=11.2),
    Persona("never pays", "hard", 4),
    Persona("confirms at the bank", "authentication", 5, act="authenticate", day=1.2),
    Persona("pays with another card", "authentication", 3, act="pay", day=4.2),
    Persona("never confirms", "authentication", 2),
    Persona("pays a part, then the rest", "soft", 1, act="pay_part", day=4.2),
    Persona("fails twice, then pays both", "soft", 1, act="second_invoice", day=6.2),
    Persona("the invoice is voided", "soft", 1, act="void", day=6.2),
    Persona("cancels", "hard", 1, act="cancel", day=12.2),
    Persona("pays by bank transfer", "soft", 1, act="out_of_band", day=8.2),
    Persona("disputes an earlier charge", "soft", 1, act="dispute", day=8.2),
)


@dataclass
class Person:
    """One customer and their invoices."""

    persona: Persona
    id: str
    subscription: str
    first_invoice: str
    amount: int
    invoices: list[str] = field(default_factory=list)
    planned: list[tuple[float, str]] = field(default_factory=list)


class Population:
    """Customers of the simulator, made through the official SDK; the same seed makes the same people."""

    def __init__(self, simulator: SimulatorControl, api: stripe.StripeClient, seed: int) -> None:
        self._simulator = simulator
        self._stripe = api
        self._random = random.Random(seed)
        self.people: list[Person] = []

    async def settle_in(self, count: int, personas: Sequence[Persona] = PERSONAS) -> None:
        """Make `count` customers who have paid once, in the personas' shares."""
        pool = [persona for persona in personas for _ in range(persona.share)]
        chosen = list(personas)[:count] + [self._random.choice(pool) for _ in range(max(0, count - len(personas)))]
        for number, persona in enumerate(chosen):
            self.people.append(await self._make(number, persona))

    async def _make(self, number: int, persona: Persona) -> Person:
        v1, rng = self._stripe.v1, self._random
        name = f"{rng.choice(NAMES)} {chr(65 + number % 26)}."
        mrr = rng.choice((1900, 4900, 9900, 49_900, 249_900))
        customer = await v1.customers.create_async(
            {
                "name": name,
                "email": f"customer{number}@example.com",
                "metadata": {
                    "csm": rng.choice(CSMS),
                    "segment": "enterprise" if mrr > 200_000 else "mid" if mrr > 40_000 else "starter",
                    "mrr": str(mrr),
                },
            }
        )
        card = await v1.payment_methods.create_async(
            {
                "type": "card",
                "card": {
                    "number": rng.choice(("4242424242424242", "5555555555554444")),
                    "exp_month": 12,
                    "exp_year": 2031,
                    "cvc": "123",
                },
            }
        )
        await v1.payment_methods.attach_async(card.id, {"customer": customer.id})
        await v1.customers.update_async(customer.id, {"invoice_settings": {"default_payment_method": card.id}})
        first = self._refusal(persona)
        script = ["ok", first, *(each or first for each in persona.then)]
        await self._simulator.set_issuer(card.id, {"script": script})
        product = await v1.products.create_async({"name": "Pro"})
        price = await v1.prices.create_async(
            {"currency": "usd", "unit_amount": mrr, "product": product.id, "recurring": {"interval": "month"}}
        )
        subscription = await v1.subscriptions.create_async({"customer": customer.id, "items": [{"price": price.id}]})
        planned = [(persona.day, persona.act)] if persona.act else []
        return Person(persona, customer.id, subscription.id, str(subscription.latest_invoice), mrr, planned=planned)

    def _refusal(self, persona: Persona) -> str:
        if persona.decline == "authentication":
            return AUTHENTICATION
        return self._random.choice(SOFT if persona.decline == "soft" else HARD)

    async def invoices_fall_due(self) -> None:
        """The next billing day: every customer's new invoice is refused."""
        for person in self.people:
            await self._bill(person)

    async def _bill(self, person: Person) -> None:
        person.invoices.append((await self._simulator.cycle(person.subscription))["id"])

    async def live_until(self, day: float) -> None:
        """Let people do what they have in mind up to a day of the month."""
        for person in self.people:
            due = [each for each in person.planned if each[0] <= day]
            person.planned = [each for each in person.planned if each[0] > day]
            for _, act in due:
                await ACTS[act](self, person)

    async def paid_times(self) -> dict[str, int]:
        """When each invoice was paid in full, seconds since 1970 on the simulator's clock; unpaid ones are left out."""
        times = {}
        for person in self.people:
            for invoice in person.invoices:
                found = await self._stripe.v1.invoices.retrieve_async(invoice)
                if found.status == "paid" and found.status_transitions.paid_at:
                    times[invoice] = found.status_transitions.paid_at
        return times

    async def pay(self, person: Person) -> None:
        """Pay every open invoice on the hosted page, with a card that works."""
        for invoice in person.invoices:
            await self._simulator.customer_pays(invoice, number=ANOTHER_CARD, behaviour={"always": "ok"})

    async def replace_card(self, person: Person) -> None:
        """Store a card that works as the new default."""
        await self._simulator.replace_card(person.id, number=ANOTHER_CARD, behaviour={"always": "ok"})

    async def authenticate(self, person: Person) -> None:
        """Confirm the payment with the bank."""
        await self._simulator.authenticate(person.invoices[0])

    async def pay_part(self, person: Person) -> None:
        """Pay a third now and the rest ten days later."""
        part = person.amount // 3
        await self._simulator.customer_pays(
            person.invoices[0], number=ANOTHER_CARD, behaviour={"always": "ok"}, amount=part
        )
        person.planned.append((14.2, "pay"))

    async def second_invoice(self, person: Person) -> None:
        """A second invoice fails as well; both are paid six days later."""
        await self._bill(person)
        person.planned.append((12.2, "pay"))

    async def void(self, person: Person) -> None:
        """Our own staff void the invoice."""
        await self._simulator.call("POST", "dashboard/void", invoice=person.invoices[0])

    async def cancel(self, person: Person) -> None:
        """The customer cancels."""
        await self._simulator.call("POST", "customer/cancel_subscription", subscription=person.subscription)

    async def out_of_band(self, person: Person) -> None:
        """A bank transfer arrives and staff mark the invoice as paid."""
        await self._simulator.call("POST", "dashboard/paid_out_of_band", invoice=person.invoices[0])

    async def dispute(self, person: Person) -> None:
        """The customer disputes last month's charge."""
        await self._simulator.call("POST", "customer/dispute", invoice=person.first_invoice)


Act = Callable[[Population, Person], Awaitable[Any]]
ACTS: Final[dict[str, Act]] = {
    "pay": Population.pay,
    "replace_card": Population.replace_card,
    "authenticate": Population.authenticate,
    "pay_part": Population.pay_part,
    "second_invoice": Population.second_invoice,
    "void": Population.void,
    "cancel": Population.cancel,
    "out_of_band": Population.out_of_band,
    "dispute": Population.dispute,
}
