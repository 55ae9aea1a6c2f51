"""The preferences page, over HTTP, on both databases: topics, the one click of mail programs, and looking only."""

from typing import Any

import aiohttp
import pytest
from itsdangerous import TimestampSigner

from models import consent, facts, topics
from models.consent_rows import TopicChoice
from models.customers import Contact
from models.tables import Account
from tests.models.gate_kit import MONDAY
from tests.web.test_customer_pages import ACCOUNT, ONE_CLICK, Page, Site, site

__all__ = ["site"]
MINE = f"offers {ACCOUNT} con_1"


async def wanted(site: Site, contact: str = "con_1") -> set[str]:
    """The topics this person gets mails about, as the gate sees it."""
    async with site.database.reading() as session:
        return {name for name, yes in (await consent.choices(session, ACCOUNT, contact)).items() if yes}


async def saved(site: Site, *topics: str, subject: str = MINE) -> Page:
    """Tick these topics and press the button."""
    return await site.ask("POST", site.path("preferences", subject), [("save", "1"), *(("topic", t) for t in topics)])


async def known(site: Site, **columns: Any) -> None:
    """An account and its contact."""
    await site.keep(Account(id=ACCOUNT), Contact(id="con_1", account_id=ACCOUNT, **columns))


async def test_t4_3_looking_shows_a_box_for_each_topic_and_changes_nothing(site: Site) -> None:
    await known(site)
    await site.keep(TopicChoice(account_id=ACCOUNT, contact_id="con_1", topic="tips", wanted=False, at=MONDAY))
    for _ in range(2):
        page = await site.ask("GET", site.path("preferences", MINE))
    assert (page.status, page.title) == (200, "What may we write to you about?")
    assert page.headers["cache-control"] == "no-store"
    boxes = {name: f'value="{name}" checked' in page.html for name in topics.TOPICS}
    assert boxes == {"tips": False, "offers": True, "surveys": True, "news": True}
    assert await site.inbox() == []


@pytest.mark.parametrize(
    ("subject", "contact"), [(MINE, "con_1"), (f"any {ACCOUNT}", ""), (f"any {ACCOUNT} c d", "c d")]
)
async def test_t4_3_what_is_saved_holds_at_once_without_a_relay(site: Site, subject: str, contact: str) -> None:
    await known(site)
    page = await saved(site, "tips", "news", subject=subject)
    assert (page.status, page.title) == (200, "Your choice is saved")
    assert "You get mails about: Tips and help, Renewal and account news. Mails about your bills" in page.html
    assert await wanted(site, contact) == {"tips", "news"}
    assert await site.inbox() == [(facts.PREFERENCES, ACCOUNT, "", contact, "")]
    assert [row.learned for row in await site.receiver.rows()] == [True]
    await saved(site, "tips", "news", subject=subject)
    assert len(await site.inbox()) == 1, "what changes nothing is no news"


@pytest.mark.parametrize("in_parts", [False, True])
async def test_t4_3_one_click_leaves_the_topic_of_the_mail_at_once(site: Site, in_parts: bool) -> None:
    await known(site)
    body: Any = aiohttp.FormData(ONE_CLICK, default_to_multipart=True) if in_parts else ONE_CLICK
    for _ in range(2):
        assert (await site.ask("POST", site.path("preferences", MINE), body)).status == 200
    assert await wanted(site) == {"tips", "surveys", "news"}
    assert len(await site.inbox()) == 1


async def test_t4_3_whoever_leaves_every_marketing_topic_has_unsubscribed_and_may_come_back(site: Site) -> None:
    await known(site)
    page = await saved(site)
    assert "You get no mails about any of these topics. Mails about your bills" in page.html
    assert [kind for kind, *_ in await site.inbox()] == [facts.PREFERENCES, facts.UNSUBSCRIBED]
    assert (await site.get(Contact, "con_1")).opted_out_at is not None
    await saved(site, "tips")
    assert (await site.get(Contact, "con_1")).opted_out_at is None
    assert await wanted(site) == {"tips"}
    await saved(site)
    assert [kind for kind, *_ in await site.inbox()].count(facts.UNSUBSCRIBED) == 2, "left once more, heard once more"


async def test_t4_3_one_click_of_a_mail_without_a_topic_leaves_all(site: Site) -> None:
    await known(site)
    await site.ask("POST", site.path("preferences", f"any {ACCOUNT} con_1"), ONE_CLICK)
    assert await wanted(site) == set()


@pytest.mark.parametrize("body", [{}, b"", {"topic": "tips"}, b"\xff", b"save" * 9])
async def test_a_form_that_was_not_saved_changes_nothing(site: Site, body: Any) -> None:
    await known(site)
    assert (await site.ask("POST", site.path("preferences", MINE), body)).status == 400
    assert await wanted(site) == set(topics.TOPICS)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_link_for_something_else_or_too_old_is_refused(
    site: Site, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = TimestampSigner("x").get_timestamp()
    monkeypatch.setattr(TimestampSigner, "get_timestamp", lambda _: now - 366 * 86_400)
    old = site.path("preferences", MINE)
    monkeypatch.undo()
    other = site.path("unsubscribe", MINE).replace("unsubscribe", "preferences")
    body = ONE_CLICK if method == "POST" else None
    pages = [await site.ask(method, path, body) for path in (old, other, "/preferences/nonsense")]
    assert [page.status for page in pages] == [400, 400, 400]
    assert "This link has expired." in pages[0].html and "This link is not valid." in pages[1].html
    assert await site.inbox() == []


async def test_a_body_that_is_too_large_is_refused(site: Site) -> None:
    page = await site.ask("POST", site.path("preferences", MINE), b"save=1&x=" + b"x" * 300_000)
    assert page.status == 413
    assert await site.inbox() == []
