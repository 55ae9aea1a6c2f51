"""SendGrid's event webhook on the real parts: a lost answer is settled by the event, and bounces reach the gate."""

from typing import Any

import pytest

from activities.merge_fields import Fields
from activities.messages import Postroom
from models.cases import Batch, Email
from models.consent_rows import Suppression, TopicChoice
from models.database import Database
from models.facts import MAIL_BOUNCED, MAIL_REPORTED, UNSUBSCRIBED
from models.links import subject_of
from models.picture import Person, Picture
from models.policy import PolicyFile
from models.story import story_of
from models.tables import EffectRow, Message, TaskRow
from tests.activities.test_lost_answers import MAIL, NOW, batch, carried_out, case_of, charge, mail
from tests.town import DAY, HOUR, Customer, Town
from tests.workers.test_settler import HOUR_AGO, grown_older, settler


async def mails(place: Town) -> list[tuple[str, str]]:
    """State and reason of every mail in the ledger."""
    rows: list[EffectRow] = await place.rows(EffectRow, kind="email")
    return [(row.state, row.reason) for row in sorted(rows, key=lambda row: row.wall_claimed_at)]


async def test_p0_14_sendgrid_accepts_then_the_connection_is_cut_and_the_event_settles_it(place: Town) -> None:
    await place.hear_of_mails(held=True)
    await place.simulator.add_fault("cut_after", MAIL, method="POST")
    person = await place.payment_fails("insufficient_funds")
    await place.pass_time(person.case, HOUR)
    assert [state for state, _ in await mails(place)] == ["in_doubt"]
    await place.simulator.release_mail_events()
    await place.arrive()
    assert await mails(place) == [("done", "SendGrid's event: processed")]
    (message,) = await place.rows(Message, channel="email")
    assert (message.template, message.text) == ("dunning.d0", "SendGrid has this mail. Its words were not kept.")
    await place.pass_time(person.case, 3 * DAY)
    sent = [each["custom_args"]["effect"] for each in await place.simulator.mailbox()]
    assert len(sent) == len(set(sent)) == 2, "day 0 and day 3, each once"


async def address_of(place: Town, person: Customer) -> str:
    """The address of whoever pays."""
    return (await place.stripe.v1.customers.retrieve_async(person.id)).email or ""


@pytest.mark.parametrize("manners", [{}, {"duplicate": 1.0}, {"out_of_order": 1.0}, {"duplicate": 1.0, "held": True}])
@pytest.mark.parametrize("fault", ["cut_after", "cut_midway", "500_after"])
async def test_p0_14_the_event_settles_it_however_it_comes(place: Town, fault: str, manners: dict[str, Any]) -> None:
    person = await case_of(place, "insufficient_funds")
    await place.hear_of_mails(**manners)
    await place.simulator.add_fault(fault, MAIL, method="POST")
    await carried_out(place, batch(person, mail(person)))
    await place.simulator.release_mail_events()
    await place.simulator.settled()
    await carried_out(place, batch(person, mail(person)))
    assert [state for state, _ in await mails(place)] == ["done"]
    assert len(await place.rows(Message)) == len(await place.simulator.mailbox()) == 1


async def test_p0_14_a_late_event_takes_the_question_from_the_person_who_was_asked(place: Town) -> None:
    person = await case_of(place, "insufficient_funds")
    await place.hear_of_mails(held=True)
    await place.simulator.add_fault("cut_after", MAIL, method="POST")
    await carried_out(place, batch(person, mail(person)))
    await grown_older(place, HOUR_AGO)
    assert await settler(place).once() == {"asked_a_person": 1}
    await place.simulator.release_mail_events()
    await place.simulator.settled()
    (task,) = await place.rows(TaskRow)
    assert (task.key, task.outcome) == (f"{mail(person).key}/in_doubt", "done")
    assert await settler(place).once() == {}


async def test_p0_14_a_dropped_mail_was_not_sent_whatever_became_of_the_answer(place: Town) -> None:
    person = await case_of(place, "insufficient_funds")
    address = await address_of(place, person)
    await place.hear_of_mails(suppressed=[address])
    await place.simulator.add_fault("cut_after", MAIL, method="POST")
    await carried_out(place, batch(person, mail(person)))
    await place.arrive()
    assert await mails(place) == [("refused", "SendGrid's event: dropped")]
    (row,) = await place.rows(Suppression)
    assert (row.why, row.effect) == ("bounced", mail(person).key)


async def test_t4_3_after_a_hard_bounce_bills_stop_too_and_a_person_is_asked_for_the_address(place: Town) -> None:
    person = await case_of(place, "insufficient_funds")
    address = await address_of(place, person)
    await place.hear_of_mails(bouncing=[address], duplicate=1.0)
    first = mail(person).model_copy(update={"notice": "billing"})
    second = first.model_copy(update={"key": f"{person.case}/step/3"})
    await carried_out(place, batch(person, first))
    await place.arrive()
    await carried_out(place, batch(person, first, second))
    rows = sorted(await place.rows(EffectRow), key=lambda row: row.key)
    assert [(row.state, row.rule) for row in rows] == [("done", "required_notice"), ("dropped", "address_bounced")]
    assert rows[1].reason.startswith("the address takes no mail: told on ") and rows[1].reason.endswith("(5.1.1)")
    (task,) = await place.rows(TaskRow)
    assert (task.case_id, task.title) == (person.case, "A customer's address takes no mail")
    async with place.database.reading() as session:
        told = [entry.why for entry in (await story_of(session, person.id)).entries if entry.what == "address"]
    assert told == [f"told of {first.key}: 5.1.1"]
    inbox = await place.inbox(source="sendgrid")
    assert [(row.kind, row.state) for row in inbox] == [(MAIL_BOUNCED, "applied")], "each event once"
    assert all(address.encode() not in row.body for row in inbox), "the inbox keeps no address"


async def test_t4_3_a_spam_report_stops_all_but_bills(place: Town) -> None:
    person = await case_of(place, "insufficient_funds")
    address = await address_of(place, person)
    await place.hear_of_mails()
    await carried_out(place, batch(person, mail(person)))
    await place.simulator.reader_does("spamreport", address)
    await place.arrive()
    service = mail(person).model_copy(update={"key": f"{person.case}/step/3"})
    bill = mail(person).model_copy(update={"key": f"{person.case}/step/4", "notice": "billing"})
    await carried_out(place, batch(person, service, bill))
    rows = {row.key.rpartition("/")[2]: (row.state, row.rule) for row in await place.rows(EffectRow)}
    assert rows["3"] == ("dropped", "address_complained")
    assert rows["4"] == ("done", "required_notice")
    kinds = sorted(row.kind for row in await place.inbox(source="sendgrid"))
    assert kinds == [UNSUBSCRIBED, MAIL_REPORTED]


async def test_t4_3_what_a_template_is_about_reaches_the_gate(place: Town) -> None:
    person = await case_of(place, "insufficient_funds")
    async with place.database.writing() as session:
        session.add(TopicChoice(account_id=person.id, contact_id="", topic="tips", wanted=False, at=NOW))
    tips = mail(person).model_copy(update={"template": "usage.d3"})
    await carried_out(place, batch(person, tips))
    (row,) = await place.rows(EffectRow)
    assert (row.state, row.rule) == ("dropped", "topic_not_wanted")


@pytest.mark.parametrize(
    ("template", "marketing", "leads_to"),
    [("usage.d3", True, "unsubscribe"), ("renewal.terms", False, "preferences"), ("dunning.d3", False, "")],
)
async def test_t4_3_one_click_leads_out_of_marketing_or_of_the_mails_own_topic(
    database: Database, template: str, marketing: bool, leads_to: str
) -> None:
    postroom = Postroom(database, PolicyFile(), Fields("https://pay.example.com", "a-secret-for-links"))
    effect = Email(key="k", title="t", template=template, marketing=marketing)
    wanted = Batch(case="c", account="a", subject="s", playbook="p", step="s", title="t", since=NOW, now=NOW)
    headers = postroom.headers(effect, wanted, Picture(), Person(id="con_1"))
    if not leads_to:
        assert headers == {}
        return
    assert headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    token = headers["List-Unsubscribe"].removeprefix(f"<https://pay.example.com/{leads_to}/").removesuffix(">")
    subject = "a con_1" if marketing else "news a con_1"
    assert subject_of("a-secret-for-links", "unsubscribe" if marketing else "preferences", token) == subject


async def test_p0_14_a_mail_that_is_answered_keeps_its_own_words(place: Town) -> None:
    person = await case_of(place, "insufficient_funds", "ok")
    await place.hear_of_mails()
    await carried_out(place, batch(person, mail(person), charge(person)))
    await place.simulator.settled()
    rows = await place.rows(Message)
    assert all(row.html and row.recipient for row in rows)
