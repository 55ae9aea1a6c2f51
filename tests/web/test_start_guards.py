"""What keeps a playbook from starting, or a table from being wrong: each is noticed when taken out."""

from datetime import UTC, date, datetime, timedelta

from models.customers import Contract
from models.learning import learn
from models.tables import Account, InboxEvent
from tests.playbook_kit import Kit
from tests.town import DAY


async def test_p0_6_after_a_run_the_playbook_rests_for_the_account(kit: Kit) -> None:
    account = await kit.account()
    run = await kit.start("trial.started", account)
    await run.hear("plan.upgraded")
    await run.finish()
    again = await kit.tell("trial.started", account, at=datetime.now(UTC) + 29 * DAY)
    assert again.reason.startswith("trial-ending not started: it rests for this account until")
    assert (await kit.tell("trial.started", account, at=datetime.now(UTC) + 31 * DAY)).reason.startswith("started ")


async def test_starts_oldest_fact_days_an_old_fact_starts_nothing(kit: Kit) -> None:
    told = await kit.tell("trial.started", await kit.account(), at=datetime.now(UTC) - 31 * DAY)
    assert told.reason == "trial-ending not started: the fact is older than starts.oldest_fact_days 30"


async def test_t1_20_an_older_fact_does_not_undo_a_newer_one(kit: Kit) -> None:
    account = await kit.account()
    await kit.add(Contract(id=f"ct_{account}", account_id=account, renews_on=date(2027, 3, 1)))
    now = datetime.now(UTC)
    await kit.tell("renewal_date.changed", account, subject=f"ct_{account}", value="2027-06-01", at=now)
    older = now - timedelta(hours=1)
    await kit.tell("renewal_date.changed", account, subject=f"ct_{account}", value="2027-04-01", at=older)
    (contract,) = await kit.place.rows(Contract, id=f"ct_{account}")
    assert contract.renews_on == date(2027, 6, 1)


async def test_t1_19_a_fact_is_learned_once_however_often_it_is_delivered(kit: Kit) -> None:
    account = await kit.account()
    told = await kit.tell("health.scored", account, value="40")
    await kit.tell("health.scored", account, value="80")
    async with kit.place.database.writing() as session:
        row = await session.get(InboxEvent, told.id)
        assert row is not None
        await learn(session, row)
    (found,) = await kit.place.rows(Account, id=account)
    assert found.health == 80
