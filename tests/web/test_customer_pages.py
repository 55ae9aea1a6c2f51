"""The pages behind the links in our mails, over HTTP, on both databases."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from itsdangerous import TimestampSigner

from models import facts
from models.customers import Contact, OfferRow
from models.database import Database
from models.learning import learn
from models.links import link
from models.tables import Account, CaseRow, InboxEvent, wall
from tests.web.wire import Receiver, receiving

SECRET = "a-secret-for-links-in-tests"
ACCOUNT, CASE, KEY = "cus_1", "usage-decline/cus_1/2026-11-25", "usage-decline/cus_1/2026-11-25/step/1"
DAY = timedelta(days=1)
ONE_CLICK = {"List-Unsubscribe": "One-Click"}


@dataclass
class Page:
    """An answer: status, headers, and the HTML."""

    status: int
    headers: dict[str, str]
    html: str

    @property
    def title(self) -> str:
        """The heading."""
        found = re.search(r"<h1>(.*?)</h1>", self.html)
        return found.group(1) if found else ""


@dataclass
class Site:
    """The pages, and what they wrote."""

    receiver: Receiver
    session: aiohttp.ClientSession

    @property
    def database(self) -> Database:
        """Its database."""
        return self.receiver.database

    def path(self, purpose: Any, subject: str) -> str:
        """A link as it stands in a mail, without our host."""
        return link("", SECRET, purpose, subject)

    async def ask(self, method: str, path: str, data: Any = None) -> Page:
        """One request."""
        url = f"http://127.0.0.1:{self.receiver.port}{path}"
        async with self.session.request(method, url, data=data, allow_redirects=False) as answer:
            return Page(answer.status, {k.lower(): v for k, v in answer.headers.items()}, await answer.text())

    async def see(self, key: str = KEY) -> Page:
        """Follow the link of the offer's mail."""
        return await self.ask("GET", self.path("offer", key))

    async def click(self, answer: str, key: str = KEY, **more: str) -> Page:
        """Click a button of the offer's page."""
        return await self.ask("POST", self.path("offer", key), {"answer": answer, **more})

    async def keep(self, *rows: Any) -> None:
        """Put rows into the database."""
        async with self.database.writing() as session:
            session.add_all(rows)

    async def take_in(self) -> None:
        """What the relay does first: our own tables learn what the inbox says."""
        for row in await self.receiver.rows():
            async with self.database.writing() as session:
                found = await session.get(InboxEvent, row.id)
                assert found
                await learn(session, found)

    async def get(self, table: Any, key: str) -> Any:
        """One row."""
        async with self.database.reading() as session:
            return await session.get(table, key)

    async def inbox(self) -> list[tuple[str, str, str, str, str]]:
        """Kind, account, subject, object and value of every row; all of them are ours and wait for the relay."""
        rows = await self.receiver.rows()
        assert all((row.source, row.state, row.type) == ("holdfast", "pending", row.kind) for row in rows)
        return [(row.kind, row.account_id, row.subject, row.object_id, row.value) for row in rows]


@pytest.fixture
async def site(both: Database) -> AsyncIterator[Site]:
    """The pages with one case."""
    async with receiving(both) as receiver, aiohttp.ClientSession() as session:
        made = Site(receiver, session)
        await made.keep(
            CaseRow(id=CASE, playbook="usage-decline", account_id=ACCOUNT, subject="lull/1", opened_at=wall() - DAY)
        )
        yield made


def offer(**changes: Any) -> OfferRow:
    """20 % off for three months, made yesterday, open for a week."""
    terms: dict[str, Any] = {"what": "discount", "pct": 20, "months": 3, "account_id": ACCOUNT, "case_id": CASE}
    return OfferRow(**{"key": KEY, "made_at": wall() - DAY, "expires_at": wall() + 7 * DAY, **terms, **changes})


ACCEPTED = (facts.OFFER_ACCEPTED, ACCOUNT, "lull/1", KEY, "")
DECLINED = (facts.OFFER_DECLINED, ACCOUNT, "lull/1", KEY, "")


async def test_o12_the_page_shows_the_terms_and_accepts_nothing(site: Site) -> None:
    made = offer()
    await site.keep(made)
    for _ in range(3):
        page = await site.see()
    assert (page.status, page.title) == (200, "20 % off for 3 months")
    until = f"{made.expires_at.day} {made.expires_at:%B %Y, %H:%M} UTC"
    for words in ("A discount of 20 % on your subscription", "3 months, from the day you accept", until):
        assert f"<dd>{words}</dd>" in page.html
    assert re.findall(r'<button[^>]*name="answer" value="(\w+)"', page.html) == ["accept", "decline"]
    assert page.headers["cache-control"] == "no-store"
    assert await site.inbox() == []


async def test_o3_a_pause_can_be_shorter_than_offered(site: Site) -> None:
    await site.keep(offer(what="pause", pct=0))
    page = await site.see()
    assert page.title == "Pause for up to 3 months"
    assert re.findall(r'<option value="(\d)"', page.html) == ["1", "2", "3"]
    assert (await site.click("accept", months="2")).status == 200
    assert [row[4] for row in await site.inbox()] == ["2"]
    await site.take_in()
    found = await site.get(OfferRow, KEY)
    assert (found.state, found.months) == ("accepted", 2)


@pytest.mark.parametrize("months", ["4", "0", "-1", "x", ""])
async def test_o3_no_other_pause_than_was_offered(site: Site, months: str) -> None:
    await site.keep(offer(what="pause", pct=0))
    assert (await site.click("accept", months=months)).status == 200
    assert await site.inbox() == [ACCEPTED]
    await site.take_in()
    assert (await site.get(OfferRow, KEY)).months == 3


async def test_o2_a_discount_is_what_was_offered_whatever_the_form_says(site: Site) -> None:
    await site.keep(offer())
    await site.click("accept", months="1", pct="90")
    assert await site.inbox() == [ACCEPTED]
    await site.take_in()
    found = await site.get(OfferRow, KEY)
    assert (found.state, found.pct, found.months) == ("accepted", 20, 3)


@pytest.mark.parametrize(("button", "row"), [("accept", ACCEPTED), ("decline", DECLINED)])
async def test_o12_an_answer_is_one_row_however_often_it_is_clicked(
    site: Site, button: str, row: tuple[str, str, str, str, str]
) -> None:
    await site.keep(offer())
    pages = await asyncio.gather(*(site.click(button) for _ in range(5)))
    assert [page.status for page in pages] == [200] * 5
    assert await site.inbox() == [row]
    await site.take_in()
    again, seen = await site.click(button), await site.see()
    said = button if button == "accept" else "declin"
    assert (again.status, seen.status) == (200, 200)
    assert again.title == seen.title == f"This offer was {said}ed"
    assert await site.inbox() == [row]
    found = await site.get(OfferRow, KEY)
    assert found.state == f"{said}ed"
    assert abs(found.answered_at - wall()) < timedelta(minutes=1)


@pytest.mark.parametrize("taken_in", [False, True])
async def test_o12_the_first_answer_stands(site: Site, taken_in: bool) -> None:
    await site.keep(offer())
    await site.click("decline")
    if taken_in:
        await site.take_in()
    late = await site.click("accept")
    assert (late.status, late.title) == (409, "This offer was declined")
    assert await site.inbox() == [DECLINED]


async def test_o12_of_both_answers_at_once_one_is_taken(site: Site) -> None:
    await site.keep(offer())
    pages = await asyncio.gather(*(site.click(button) for button in ("accept", "decline") * 3))
    assert sorted(page.status for page in pages) == [200] * 3 + [409] * 3
    assert len(await site.inbox()) == 1


@pytest.mark.parametrize(
    ("changes", "status", "title"),
    [
        ({"expires_at": wall() - DAY}, 410, "This offer has expired"),
        ({"state": "withdrawn"}, 410, "This offer was withdrawn"),
        ({"key": "another"}, 404, "No such offer"),
    ],
)
async def test_o12_what_is_not_open_cannot_be_answered(
    site: Site, changes: dict[str, Any], status: int, title: str
) -> None:
    await site.keep(offer(**changes))
    for page in (await site.see(), await site.click("accept"), await site.click("decline")):
        assert (page.status, page.title) == (status, title)
    assert await site.inbox() == []


async def test_o12_an_accepted_offer_stays_accepted_after_its_last_day(site: Site) -> None:
    await site.keep(offer(state="accepted", answered_at=wall(), expires_at=wall() - DAY))
    assert ((await site.see()).status, (await site.see()).title) == (200, "This offer was accepted")
    assert (await site.click("decline")).status == 409


async def test_o12_an_answer_is_not_older_than_what_it_answers(site: Site) -> None:
    """Simulated time, or a provider's clock, may be ahead of the machine's; what is older than a case is not heard."""
    made = offer(made_at=wall() + 30 * DAY, expires_at=wall() + 44 * DAY)
    await site.keep(made)
    await site.click("accept")
    (row,) = await site.receiver.rows()
    assert row.occurred_at == made.made_at


@pytest.mark.parametrize("answer", ["", "maybe", "ACCEPT"])
async def test_an_answer_that_is_none_changes_nothing(site: Site, answer: str) -> None:
    await site.keep(offer())
    assert (await site.click(answer)).status == 400
    assert (await site.ask("POST", site.path("offer", KEY), b"\xff\xfe")).status == 400
    assert (await site.ask("POST", site.path("offer", KEY), b"a=1&" * 50 + b"answer=accept")).status == 400
    assert await site.inbox() == []


@pytest.mark.parametrize("purpose", ["offer", "unsubscribe"])
async def test_a_body_that_is_too_large_is_refused(site: Site, purpose: str) -> None:
    await site.keep(offer())
    page = await site.ask("POST", site.path(purpose, KEY), b"answer=accept&x=" + b"x" * 300_000)
    assert page.status == 413
    assert await site.inbox() == []


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("purpose", ["offer", "unsubscribe"])
async def test_a_link_that_is_not_ours_or_for_something_else_is_refused(site: Site, purpose: str, method: str) -> None:
    await site.keep(offer())
    other = "unsubscribe" if purpose == "offer" else "offer"
    swapped = site.path(other, KEY).replace(other, purpose)
    for path in (f"/{purpose}/nonsense", site.path(purpose, KEY)[:-1], swapped):
        page = await site.ask(method, path, {"answer": "accept"} if method == "POST" else None)
        assert page.status == 400
        assert "This link is not valid." in page.html
    assert await site.inbox() == []


async def test_a_link_that_is_too_old_is_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    await site.keep(offer())
    now = TimestampSigner("x").get_timestamp()
    monkeypatch.setattr(TimestampSigner, "get_timestamp", lambda _: now - 91 * 86_400)
    path = site.path("offer", KEY)
    monkeypatch.undo()
    page = await site.ask("POST", path, {"answer": "accept"})
    assert (page.status, "This link has expired." in page.html) == (400, True)
    assert await site.inbox() == []


# Unsubscribing.


async def test_t4_3_following_the_link_unsubscribes_nobody(site: Site) -> None:
    for _ in range(2):
        page = await site.ask("GET", site.path("unsubscribe", ACCOUNT))
    assert (page.status, page.title) == (200, "Unsubscribe from tips and offers?")
    assert "<button" in page.html
    assert await site.inbox() == []


@pytest.mark.parametrize("body", [{}, ONE_CLICK, b"anything", "multipart"])
@pytest.mark.parametrize(("subject", "contact"), [(ACCOUNT, ""), (f"{ACCOUNT} con_1", "con_1")])
async def test_t4_3_a_post_unsubscribes_at_once(site: Site, body: Any, subject: str, contact: str) -> None:
    await site.keep(Account(id=ACCOUNT), Contact(id="con_1", account_id=ACCOUNT))
    if body == "multipart":
        body = aiohttp.FormData(ONE_CLICK, default_to_multipart=True)
    page = await site.ask("POST", site.path("unsubscribe", subject), body)
    assert (page.status, page.title) == (200, "You are unsubscribed")
    assert await site.inbox() == [(facts.UNSUBSCRIBED, ACCOUNT, "", contact, "")]
    await site.take_in()
    out = {(await site.get(Account, ACCOUNT)).opted_out_at is not None: "account"}
    out |= {(await site.get(Contact, "con_1")).opted_out_at is not None: "contact"}
    assert out[True] == ("contact" if contact else "account")
    assert set(out) == {True, False}


async def test_t4_3_twice_is_once(site: Site) -> None:
    await site.keep(Account(id=ACCOUNT))
    path = site.path("unsubscribe", ACCOUNT)
    pages = await asyncio.gather(*(site.ask("POST", path, ONE_CLICK) for _ in range(5)))
    await site.take_in()
    pages.append(await site.ask("POST", path, ONE_CLICK))
    assert [page.status for page in pages] == [200] * 6
    assert len(await site.inbox()) == 1


async def test_t4_3_somebody_who_came_back_can_leave_once_more(site: Site) -> None:
    await site.keep(Account(id=ACCOUNT))
    path = site.path("unsubscribe", ACCOUNT)
    for number in (1, 2):
        await site.ask("POST", path, ONE_CLICK)
        await site.take_in()
        assert (await site.get(Account, ACCOUNT)).opted_out_at
        assert len(await site.inbox()) == number
        async with site.database.writing() as session:
            account = await session.get(Account, ACCOUNT)
            assert account
            account.opted_out_at = None


async def test_t4_3_an_account_that_is_not_known_yet_is_remembered(site: Site) -> None:
    await site.ask("POST", site.path("unsubscribe", "cus_new"), ONE_CLICK)
    await site.take_in()
    assert (await site.get(Account, "cus_new")).opted_out_at is not None


async def test_p20_10_an_opt_out_is_not_older_than_the_case_it_ends(site: Site) -> None:
    opened = wall().replace(microsecond=0) + 30 * DAY
    await site.keep(CaseRow(id="c/2", playbook="win-back", account_id=ACCOUNT, subject=ACCOUNT, opened_at=opened))
    await site.ask("POST", site.path("unsubscribe", ACCOUNT), ONE_CLICK)
    (row,) = await site.receiver.rows()
    assert row.occurred_at == opened


@pytest.mark.parametrize("purpose", ["offer", "unsubscribe"])
async def test_a_database_that_is_away_loses_no_answer_silently(site: Site, purpose: str, tmp_path: Path) -> None:
    await site.keep(offer())
    path, broken = site.path(purpose, KEY), Database(f"sqlite:///{tmp_path / 'empty.db'}")
    async with receiving(broken) as receiver:
        away = Site(receiver, site.session)
        page = await away.ask("POST", path, {"answer": "accept"})
        seen = await away.ask("GET", path)
    await broken.close()
    assert (page.status, page.title) == (503, "Please try again")
    assert seen.status == (503 if purpose == "offer" else 200)


async def test_the_pages_need_no_script_and_no_style_of_their_own(site: Site) -> None:
    await site.keep(offer(), offer(key="pause", what="pause", pct=0))
    for path in (site.path("offer", KEY), site.path("offer", "pause"), site.path("unsubscribe", ACCOUNT)):
        page = await site.ask("GET", path)
        assert page.status == 200
        assert not re.search(r"<script|\sstyle=|\son\w+=|https?://", page.html.replace(path, ""))
        assert '<form method="post">' in page.html
