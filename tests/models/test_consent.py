"""Which mails people want and which addresses take any: the gate's answers, on both databases (T4.3)."""

from datetime import timedelta
from typing import Any

import orjson
import pytest

from activities import letters
from models import consent, ledger, topics
from models.consent_rows import Suppression, TopicChoice
from models.customers import Contact
from models.database import Database
from models.facts import PREFERENCES
from models.learning import BadFact, learn
from models.policy import Policy
from models.tables import Account, EffectRow, InboxEvent
from models.touch import reader_of
from tests.models.gate_kit import ACCOUNT, DAY, MONDAY, account_of, case_of, mail, people
from workers.catalogue import catalogue
from workflows import PLAYBOOKS
from workflows.steps import name_of

ADDRESS = "max@example.com"


async def claimed(database: Database, topic: str, number: int = 1, **fields: Any) -> tuple[str, str, str]:
    """Claim a mail about a topic: its state, the rule and the reason."""
    batch = await case_of(database, "usage-decline")
    async with database.writing() as session:
        row, _ = await ledger.claim(
            session,
            batch,
            mail(batch, number, **fields),
            people(ADDRESS),
            parting=False,
            detail={},
            policy=Policy(),
            topic=topic,
        )
    assert isinstance(row, EffectRow)
    return row.state, row.rule, row.reason


async def chose(database: Database, at: timedelta = timedelta(0), **topics: bool) -> None:
    """What the champion chose, as the page keeps it."""
    async with database.writing() as session:
        await consent.choose(session, ACCOUNT, "con_1", topics, MONDAY + at)


async def now_wanted(database: Database, contact: str = "con_1") -> set[str]:
    """The topics this person gets mails about."""
    async with database.reading() as session:
        return {name for name, yes in (await consent.choices(session, ACCOUNT, contact)).items() if yes}


async def test_t4_3_a_topic_that_is_not_wanted_is_not_written_about_and_the_others_are(both: Database) -> None:
    await account_of(both)
    await chose(both, offers=False)
    why = "wants no mails about 'Offers' since 23 Nov 2026"
    assert await claimed(both, "offers") == ("dropped", "topic_not_wanted", why)
    assert (await claimed(both, "tips", 2))[0] == "claimed"


async def test_t4_3_what_has_to_be_said_is_said_whatever_its_topic(both: Database) -> None:
    await account_of(both)
    await chose(both, news=False)
    assert (await claimed(both, "news", marketing=False, notice="legal"))[0] == "claimed"
    assert (await claimed(both, "news", 2, marketing=False))[1] == "topic_not_wanted"


async def test_t4_3_the_newest_word_stands_whichever_comes_first(both: Database) -> None:
    await account_of(both)
    await chose(both, DAY, tips=True, offers=False)
    await chose(both, tips=False, offers=True)
    assert await now_wanted(both) == {"tips", "surveys", "news"}


async def test_t4_3_who_unsubscribed_and_wants_one_topic_again_gets_that_one(both: Database) -> None:
    async with both.writing() as session:
        session.add(Account(id=ACCOUNT))
        session.add(Contact(id="con_1", account_id=ACCOUNT, opted_out_at=MONDAY - DAY))
    assert await now_wanted(both) == {"news"}
    assert (await claimed(both, "tips"))[1] == "opted_out"
    await chose(both, tips=True)
    assert await now_wanted(both) == {"tips", "news"}
    assert (await claimed(both, "tips", 2))[0] == "claimed"
    assert (await claimed(both, "offers", 3))[1] == "topic_not_wanted"


async def test_t4_3_a_choice_made_before_unsubscribing_does_not_undo_it(both: Database) -> None:
    async with both.writing() as session:
        session.add(Contact(id="con_1", account_id=ACCOUNT, opted_out_at=MONDAY + DAY))
    await chose(both, tips=True)
    assert await now_wanted(both) == {"news"}


async def test_t4_3_nothing_is_mailed_to_an_address_that_bounced_at_whatever_account(both: Database) -> None:
    await account_of(both)
    row = Suppression(reader=reader_of(" MAX@example.com"), why="bounced", said="5.1.1", account_id="cus_9", at=MONDAY)
    async with both.writing() as session:
        assert await consent.suppress(session, row)
    why = "the address takes no mail: told on 23 Nov 2026 (5.1.1)"
    assert await claimed(both, "", notice="billing", marketing=False) == ("dropped", "address_bounced", why)
    async with both.writing() as session:
        (lifted,) = await consent.lift(session, ADDRESS, "ana", MONDAY + DAY)
        assert lifted.why == "bounced"
    assert (await claimed(both, "", 2, notice="billing", marketing=False))[0] == "claimed"
    async with both.writing() as session:
        with pytest.raises(consent.NotSuppressed):
            await consent.lift(session, ADDRESS, "ana", MONDAY)


async def test_t4_3_a_bounce_told_again_after_the_lift_is_old_news_and_a_new_one_stands(both: Database) -> None:
    def told(days: int) -> Suppression:
        at = MONDAY + days * DAY
        return Suppression(reader=reader_of(ADDRESS), why="bounced", account_id=ACCOUNT, at=at)

    async with both.writing() as session:
        await consent.suppress(session, told(0))
        await consent.lift(session, ADDRESS, "ana", MONDAY + DAY)
        assert not await consent.suppress(session, told(0))
        assert await consent.suppress(session, told(2))
        assert not await consent.suppress(session, told(2))
    await account_of(both)
    assert (await claimed(both, "tips"))[1] == "address_bounced"


@pytest.mark.parametrize("topics", [None, [], {}, {"bills": False}, {"tips": "no"}, {"x" * 900: True}])
async def test_t4_3_a_choice_that_says_nothing_we_know_is_refused_with_what_it_may_say(
    both: Database, topics: Any
) -> None:
    row = InboxEvent(
        source="events", event_id="e", type=PREFERENCES, kind=PREFERENCES, account_id=ACCOUNT, occurred_at=MONDAY,
        body=b'{"data": {"topics": %s}}' % orjson.dumps(topics),
    )  # fmt: skip
    async with both.writing() as session:
        session.add(row)
        await session.flush()
        with pytest.raises(BadFact, match="tips, offers, surveys, news") as caught:
            await learn(session, row)
    assert len(str(caught.value)) < 500
    async with both.reading() as session:
        assert await session.get(TopicChoice, (ACCOUNT, "", "tips")) is None


def test_c15_every_template_says_what_it_is_about() -> None:
    about = {key: letters.topic_of(key) for key in letters.templates()}
    assert {key for key, topic in about.items() if topic not in {*topics.TOPICS, *topics.FIXED}} == set()
    assert set(about.values()) == {*topics.TOPICS, *topics.FIXED}, "a topic without a template"


def test_t4_3_marketing_playbooks_write_about_marketing_topics_and_no_others_do() -> None:
    marketing = {name_of(each): each.marketing for each in PLAYBOOKS}
    billing = {name_of(each) for each in PLAYBOOKS if each.notice == "billing"}
    for entry in catalogue():
        mails = {key for key in entry.contents if "body.mjml" in letters_files(key)}
        for key in mails:
            topic = letters.topic_of(key)
            if entry.name in billing:
                assert topic == topics.BILLING, key
            else:
                assert topics.TOPICS[topic].marketing == marketing[entry.name], key


def letters_files(key: str) -> set[str]:
    """The files of a template."""
    return {path.name for path in (letters.ROOT / key).iterdir()}
