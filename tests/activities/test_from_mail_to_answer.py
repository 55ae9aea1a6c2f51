"""From a mail to what its reader does about it: the links and headers of mails, the pages, the relay, Stripe."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
from temporalio.testing import ActivityEnvironment

from activities.offers import coupon_of
from models.cases import ApplyOffer, Batch, Effect, Email, Offer, Outcome
from models.customers import Contact, OfferRow
from models.tables import Account, CaseRow, EffectRow
from tests.town import PUBLIC_URL, Customer, Town

CASE = "win-back/1"
HEADERS = {"List-Unsubscribe", "List-Unsubscribe-Post"}


async def a_case(place: Town) -> Customer:
    """A customer with a contact, and a case of theirs."""
    await place.simulator.webhooks(lost=1.0)
    person = await place.customer("ok")
    now = datetime.now(UTC)
    async with place.database.writing() as session:
        session.add(Account(id=person.id, name="Zoe Miller", email="zoe@example.com"))
        session.add(Contact(id="con_1", account_id=person.id, role="champion", name="Max", email="max@example.com"))
        session.add(CaseRow(id=CASE, playbook="win-back", account_id=person.id, subject=person.id, opened_at=now))
    return person


async def carry_out(place: Town, person: Customer, *effects: Effect) -> Outcome:
    """One batch."""
    now = datetime.now(UTC)
    batch = Batch(
        case=CASE,
        account=person.id,
        subject=person.id,
        playbook="win-back",
        step="step",
        title="A step.",
        since=now,
        now=now,
        watch="facts",
        effects=effects,
    )
    outcome: Outcome = await ActivityEnvironment().run(place.effects.carry_out, batch)
    return outcome


def mail(number: int, **changes: Any) -> Email:
    """A marketing mail, unless told otherwise."""
    return Email(
        **{"key": f"{CASE}/{number}", "title": "Mail", "template": "winback.auto1", "marketing": True, **changes}
    )


async def post(place: Town, link: str, data: Any) -> int:
    """Post to a link out of a mail, at the address where the town's pages really are."""
    assert link.startswith(PUBLIC_URL)
    async with (
        aiohttp.ClientSession() as session,
        session.post(link.replace(PUBLIC_URL, place.url), data=data, allow_redirects=False) as answer,
    ):
        return answer.status


async def test_t4_3_marketing_mail_can_be_left_with_one_click_and_service_mail_cannot(place: Town) -> None:
    person = await a_case(place)
    dates = {"restrict_date": datetime.now(UTC) + timedelta(days=7)}
    fields: dict[str, str | int] = {"amount": "$29.00", "invoice_number": "A-1", "card_last4": "4242"}
    service = mail(2, template="dunning.d3", marketing=False, dates=dates, fields=fields)
    await carry_out(place, person, mail(1), service, mail(3, to="champion"))
    first, second, third = await place.simulator.mailbox()
    assert (set(first["headers"]), set(second["headers"]), set(third["headers"])) == (HEADERS, set(), HEADERS)
    assert first["headers"]["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    for each in (first, third):
        header = each["headers"]["List-Unsubscribe"]
        assert re.fullmatch(rf"<{PUBLIC_URL}/unsubscribe/[\w.-]+>", header)
        assert header.strip("<>") in each["text"], "the link in the words is the same"
    assert first["headers"]["List-Unsubscribe"] != third["headers"]["List-Unsubscribe"]


async def test_t4_3_one_click_stops_marketing_mail_to_that_person_only(place: Town) -> None:
    person = await a_case(place)
    await carry_out(place, person, mail(1, to="champion"))
    (sent,) = await place.simulator.mailbox()
    link = sent["headers"]["List-Unsubscribe"].strip("<>")
    name, _, value = sent["headers"]["List-Unsubscribe-Post"].partition("=")
    assert await post(place, link, {name: value}) == 200
    await place.arrive()
    (contact,) = await place.rows(Contact)
    (account,) = await place.rows(Account)
    assert (contact.opted_out_at is not None, account.opted_out_at) == (True, None)
    await carry_out(place, person, mail(2, to="champion"), mail(3))
    rows = {row.key: (row.state, row.rule) for row in await place.rows(EffectRow)}
    went = ("done", "contact_rules")
    assert rows == {f"{CASE}/1": went, f"{CASE}/2": ("dropped", "opted_out"), f"{CASE}/3": went}
    assert [each["to"] for each in await place.simulator.mailbox()] == [["max@example.com"], ["zoe@example.com"]]


async def test_o12_an_offer_goes_from_the_mail_to_the_next_invoice(place: Town) -> None:
    person = await a_case(place)
    key = f"{CASE}/offer"
    offer = Offer(key=key, title="Offer", pct=20, months=3, expires=datetime.now(UTC) + timedelta(days=14))
    await carry_out(place, person, offer, mail(1, template="usage.discount", offer=key, fields={"feature": "Reports"}))
    (sent,) = await place.simulator.mailbox()
    (link,) = re.findall(rf"{PUBLIC_URL}/offer/[\w.-]+", sent["text"])
    apply = ApplyOffer(key=f"{CASE}/early", title="Apply", offer=key)
    early = await carry_out(place, person, apply)
    assert early.results[apply.key].reason == "the offer is made, not accepted"
    assert await post(place, link, {"answer": "accept"}) == 200
    await place.arrive()
    (row,) = await place.rows(OfferRow)
    (event,) = await place.inbox()
    assert (row.state, event.state, event.subject, event.object_id) == ("accepted", "applied", person.id, key)
    outcome = await carry_out(place, person, ApplyOffer(key=f"{CASE}/apply", title="Apply", offer=key))
    assert (outcome.readings["apply_offer"], outcome.readings["offer"]) == ("done", "accepted")
    (row,) = await place.rows(OfferRow)
    assert row.provider_id == coupon_of(row)
    assert (await place.simulator.cycle(person.subscription))["amount_paid"] == 2320
