"""A run and its account's CSM: who is away, and who takes over (S3.5)."""

from models import books
from models.customers import Owner
from models.tables import Account, wall
from tests.playbook_kit import Kit
from tests.workflows.renewals import renewal
from workflows.visible import OWNER


async def test_s3_5_a_task_goes_to_who_covers_and_a_run_hears_of_its_new_csm(kit: Kit) -> None:
    today = kit.today()
    await kit.add(Owner(handle="ana", away_from=today, away_until=today, covered_by="bea"), Owner(handle="eve"))
    it = await renewal(kit, 20, account=await kit.account(segment="mid", health=80))
    await it.run.to_day(0.1)
    kickoff = {task.title: task for task in await it.run.tasks()}["Renewal Kickoff"]
    assert (kickoff.owner, kickoff.body.splitlines()[-1]) == ("bea", "In place of ana, who is not here.")
    async with kit.place.database.writing() as session:
        account = await session.get(Account, it.run.account, with_for_update=True)
        assert account
        await books.assign(session, account, "eve", wall())
    await kit.place.arrive()
    await it.to(14)
    there = await kit.place.run(it.run.case).describe()
    assert there.typed_search_attributes[OWNER] == "eve"
    assert (await it.run.row()).readings["owner"] == "eve"
