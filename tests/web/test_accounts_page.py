"""`/accounts/ID` and the stop switch as staff meet them."""

import re

from models import holds
from models.contact_rows import Hold
from models.database import Database
from models.tables import Account
from tests.models.gate_kit import ACCOUNT
from tests.models.test_story import an_account_with_a_story
from tests.web.wire import Answer, Receiver, receiving, request

UI = "http://127.0.0.1:8233"


async def get(site: Receiver, path: str) -> Answer:
    return await site.exchange(request(b"", [], b"GET", path.encode()))


async def press(site: Receiver, page: str, number: int = 0) -> Answer:
    """Press the button of this number on a page."""
    token = re.findall(r'name="token" value="([^"]+)"', (await get(site, page)).body.decode())[number]
    form = (b"Content-Type", b"application/x-www-form-urlencoded")
    return await site.exchange(request(f"token={token}".encode(), [form], b"POST", b"/holds"))


async def standing(database: Database) -> list[tuple[str, str, str]]:
    async with database.reading() as session:
        rows: list[Hold] = await holds.standing_holds(session)
    return [(row.scope, row.name, row.placed_by) for row in rows]


async def test_r_the_page_of_an_account_tells_its_story_and_leads_to_its_runs(both: Database) -> None:
    await an_account_with_a_story(both)
    async with receiving(both, temporal_ui=UI, temporal_namespace="retention.a1b2c") as site:
        answer = await get(site, f"/accounts/{ACCOUNT}")
    html = answer.body.decode()
    assert answer.status == 200
    told = re.findall(r'<td><span class="tag">([a-z ]+)</span></td>\n<td>', html)
    assert [each for each in told if each in ("sent", "not sent", "waits")] == ["sent", "waits", "not sent"]
    assert "suppressed: payment-failure holds the floor" in html
    assert f'href="{UI}/namespaces/retention.a1b2c/workflows?query=WorkflowId%3D%22usage-decline/cus_1%22"' in html
    assert '<a href="/outbox/usage-decline/cus_1/step/1">E-mail</a>' in html


async def test_s2_1_and_s4_4_the_page_says_how_the_account_is_looked_after(both: Database) -> None:
    async with both.writing() as session:
        session.add(Account(id="big", owner="ana", owner_held=True, segment="enterprise"))
        session.add(Account(id="free", plan="free", segment="starter"))
    async with receiving(both) as site:
        big, free = [(await get(site, f"/accounts/{name}")).body.decode() for name in ("big", "free")]
    assert "<dd>ana, kept by hand (a dedicated CSM)</dd>" in big
    assert "<dd>a success plan of its own; a check-in each week; an executive sponsor; business reviews</dd>" in big
    assert "an answer within 1 h, 80 % solved within 6 h; an account manager, day and night, guaranteed</dd>" in big
    assert "<dd>nobody yet (nobody by name)</dd>" in free
    assert "<dt>Support</dt><dd>knowledge base, videos, community, FAQ</dd>" in free


async def test_r_of_an_account_nobody_knows_there_is_no_page(both: Database) -> None:
    async with receiving(both) as site:
        assert [(await get(site, f"/accounts/{name}")).status for name in ("cus_9", "%00")] == [404, 404]


async def test_a_button_holds_an_account_and_releases_it(both: Database) -> None:
    async with both.writing() as session:
        session.add(Account(id=ACCOUNT))
    async with receiving(both) as site:
        answer = await press(site, f"/accounts/{ACCOUNT}")
        assert (answer.status, answer.headers["location"]) == (303, f"/accounts/{ACCOUNT}")
        assert await standing(both) == [("account", ACCOUNT, "a staff page")]
        await press(site, f"/accounts/{ACCOUNT}")
    assert await standing(both) == []


async def test_each_playbook_has_a_stop_switch_and_so_has_everything(both: Database) -> None:
    async with receiving(both, playbooks=("renewal", "win-back")) as site:
        for number in range(3):
            assert (await press(site, "/holds", number)).headers["location"] == "/holds"
        expected = [
            ("all", "", "a staff page"),
            *(("playbook", name, "a staff page") for name in ("renewal", "win-back")),
        ]
        assert await standing(both) == expected
        assert (await get(site, "/holds")).body.count(b">Release<") == 3
        await press(site, "/holds", 0)
    assert await standing(both) == expected[1:]


async def test_a_button_that_no_page_of_ours_made_presses_nothing(both: Database) -> None:
    async with receiving(both) as site:
        for body in (b"", b"token=hold.all", b"token=ImhvbGQi.x.y", b"\xff\xfe"):
            assert (await site.exchange(request(body, [], b"POST", b"/holds"))).status == 400
    assert await standing(both) == []
