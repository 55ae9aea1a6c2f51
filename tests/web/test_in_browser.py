"""Every page and each kind of mail in a real Chromium: axe-core finds nothing, and no page scrolls sideways."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from models.database import Database
from tests.town import fresh_database
from tests.web.browser import CHROMIUM, QUIET, Looked, Scheme, complaints, opened, site, why_not

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())
PAGES = {
    "narrow": (
        "cases",
        "account",
        "holds",
        "letter",
        "templates",
        "template",
        "offer",
        "preferences",
        "mail dunning.d0 de",
    ),
    "wide": ("outbox", "pause", "unsubscribe", "notice", "mail usage.discount en", "mail renewal.terms en"),
}
"""Each page and each frame of mails once; `python -m tools.look` goes through all of them four times."""


@pytest.fixture(scope="module")
async def looked(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Looked]:
    """The site, with something on every page."""
    database = Database(fresh_database(migrated, tmp_path_factory.mktemp("browser")))
    async with site(database) as running:
        yield running
    await database.close()


@pytest.mark.parametrize(("width", "scheme"), [("narrow", "dark"), ("wide", "light")])
async def test_axe_finds_nothing_and_nothing_scrolls_sideways(looked: Looked, width: str, scheme: Scheme) -> None:
    from playwright.async_api import async_playwright

    found: dict[str, list[str]] = {}
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        page = await opened(browser, width, scheme)
        for name in PAGES[width]:
            await page.goto(looked.pages[name])
            said = await complaints(page)
            if said:
                found[name] = said
        await browser.close()
    assert found == {}


async def test_t4_3_the_preferences_page_is_used_with_the_keyboard_and_without_scripts(looked: Looked) -> None:
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        context = await browser.new_context(java_script_enabled=False)
        page = await context.new_page()
        await page.goto(looked.pages["preferences"])
        await page.keyboard.press("Tab")
        await page.keyboard.press("Space")
        for _ in range(4):
            await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await page.wait_for_load_state()
        title = await page.locator("h1").inner_text()
        says = await page.locator("main p").inner_text()
        await browser.close()
    assert title == "Your choice is saved"
    assert says.startswith("You get mails about: Questions to you, Renewal and account news."), "tips was switched off"
