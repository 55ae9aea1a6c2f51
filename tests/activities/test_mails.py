"""A mail is sent once or not at all; where nobody can say, it is in doubt and stays so, and the batch goes on."""

import re

import pytest
from temporalio.testing import ActivityEnvironment

from activities import letters
from activities.assembly import Outside, assemble
from activities.systems import TryAgain
from models.cases import Email, Task
from models.policy import PolicyFile
from models.tables import EffectRow, Message, TaskRow
from tests.activities.errands import (
    MAIL,
    NOW,
    Breaks,
    Broken,
    batch,
    carried_out,
    case_of,
    effects_with,
    mail,
    once,
    row_of,
    states,
)
from tests.town import LINK_SECRET, PUBLIC_URL, Customer, Town


def task(person: Customer) -> Task:
    """What comes after the mail."""
    return Task(key=f"{person.case}/step/3", title="Call", due=NOW)


@pytest.mark.parametrize("kind", ["429", "503"])
async def test_a_mail_not_taken_holds_the_batch_up_until_it_is(place: Town, kind: str) -> None:
    person = await case_of(place, "insufficient_funds")
    await place.simulator.add_fault(kind, MAIL, method="POST", times=2)
    wanted = batch(person, mail(person), task(person))
    for _ in range(2):
        with pytest.raises(TryAgain, match=f"SendGrid asks to wait: {kind}"):
            await once(place.effects, wanted)
        assert (await place.simulator.mailbox(), await states(place)) == ([], {})
    await once(place.effects, wanted)
    (sent,) = await place.simulator.mailbox()
    assert sent["custom_args"] == {"effect": mail(person).key, "case": person.case}
    assert await states(place) == {"step/2": "done", "step/3": "done"}
    (kept,) = await place.rows(Message)
    assert (kept.key, kept.provider_id, kept.recipient) == (mail(person).key, sent["id"], "zoe1@example.com")


async def test_a_mail_that_sendgrid_refuses_is_refused_with_its_words_and_the_batch_goes_on(place: Town) -> None:
    person = await case_of(place, "insufficient_funds")
    nameless = PolicyFile({"company": {"from_email": ""}})
    outside = Outside(
        stripe=place.stripe,
        sendgrid_key="SG.town",
        sendgrid_base=place.simulator.url,
        public_url=PUBLIC_URL,
        link_secret=LINK_SECRET,
    )
    effects = assemble(place.database, nameless, outside).effects
    for _ in range(2):
        await once(effects, batch(person, mail(person), task(person)))
    row = await row_of(place, mail(person))
    assert row.state == "refused"
    assert row.reason.startswith("SendGrid answered 400: ")
    assert "The from object must be provided" in row.reason
    assert await place.simulator.mailbox() == []
    assert await place.rows(Message) == []
    assert len(await place.rows(TaskRow)) == 1


@pytest.mark.parametrize(
    ("kind", "sent", "reason"),
    [
        ("500_before", 0, "SendGrid answered 500: "),
        ("500_after", 1, "SendGrid answered 500: "),
        ("cut_before", 0, "the connection to SendGrid was lost: RemoteDisconnected"),
        ("cut_after", 1, "the connection to SendGrid was lost: RemoteDisconnected"),
        ("cut_midway", 1, ""),
    ],
)
async def test_a_mail_in_doubt_lets_the_batch_go_on(place: Town, kind: str, sent: int, reason: str) -> None:
    person = await case_of(place, "insufficient_funds")
    await place.simulator.add_fault(kind, MAIL, method="POST")
    for _ in range(2):
        outcome = await carried_out(place, batch(person, mail(person), task(person)))
        assert outcome.results[mail(person).key].state == "in_doubt"
    assert (await row_of(place, mail(person))).reason.startswith(reason)
    assert len(await place.simulator.mailbox()) == sent
    assert await states(place) == {"step/2": "in_doubt", "step/3": "done"}


async def test_without_an_address_a_mail_is_refused(place: Town) -> None:
    person = await case_of(place, "insufficient_funds")
    await place.stripe.v1.customers.update_async(person.id, {"email": ""})
    await once(place.effects, batch(person, mail(person), task(person)))
    row = await row_of(place, mail(person))
    assert (row.state, row.reason) == ("refused", "the account has no e-mail address")
    assert await states(place) == {"step/2": "refused", "step/3": "done"}
    assert await place.simulator.mailbox() == []


@pytest.mark.parametrize("outbox", [False, True], ids=["sendgrid", "outbox"])
async def test_c15_a_missing_merge_field_sends_nothing_and_is_named(place: Town, outbox: bool) -> None:
    person = await case_of(place, "insufficient_funds")
    unfinished = Email(key=mail(person).key, title="Mail", template="dunning.d14")
    effects = effects_with(place, Breaks(0, after=False), outbox=outbox)
    for _ in range(3):
        with pytest.raises((TryAgain, letters.MissingField), match=re.escape("'dunning.d14' lacks merge fields: ")):
            await once(effects, batch(person, unfinished))
        assert await place.simulator.mailbox() == []
        assert await states(place) == {}
    # As soon as the field is there, the mail goes.
    await once(effects, batch(person, unfinished.model_copy(update={"restrict_at": NOW, "suspend_at": NOW})))
    assert await states(place) == {"step/2": "done"}
    assert len(await place.rows(Message)) == 1


async def test_the_outbox_keeps_the_mail_in_the_transaction_that_claims_it(place: Town) -> None:
    person = await case_of(place, "insufficient_funds")
    breaks = Breaks(2, after=True)  # the look is the first call, the letter the second
    effects = effects_with(place, breaks, outbox=True)
    with pytest.raises(Broken):
        await once(effects, batch(person, mail(person)))
    assert (await place.rows(Message), await place.rows(EffectRow)) == ([], [])
    for _ in range(2):
        await once(effects, batch(person, mail(person)))
    (kept,) = await place.rows(Message)
    (row,) = await place.rows(EffectRow)
    assert (kept.key, row.key, row.state) == (mail(person).key, mail(person).key, "done")
    assert "$29.00" in kept.text
    assert await place.simulator.mailbox() == []


async def test_the_outbox_refuses_a_mail_without_an_address(place: Town) -> None:
    person = await case_of(place, "insufficient_funds")
    await place.stripe.v1.customers.update_async(person.id, {"email": ""})
    effects = effects_with(place, Breaks(0, after=False), outbox=True)
    outcome = await ActivityEnvironment().run(effects.carry_out, batch(person, mail(person)))
    assert outcome.results[mail(person).key].reason == "the account has no e-mail address"
    assert await place.rows(Message) == []


async def test_a_decline_of_another_class_gets_the_other_template(place: Town) -> None:
    person = await case_of(place, "stolen_card")
    first = Email(
        key=mail(person).key,
        title="Mail",
        template="dunning.d0",
        by_decline={"hard": "dunning.hard"},
        restrict_at=NOW,
        suspend_at=NOW,
    )
    await once(place.effects, batch(person, first))
    (kept,) = await place.rows(Message)
    assert kept.template == "dunning.hard"
