"""Take the pictures of our own pages in docs/pictures/pages: `python -m tools.page_pictures`.

Needs the dependency group `browser` and a Chromium, by default /usr/bin/chromium.
"""

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Final

from models.database import Database
from tests.web.browser import CHROMIUM, QUIET, site, why_not
from workers import migrate

PICTURES: Final = Path(__file__).parent.parent / "docs" / "pictures" / "pages"
HEIGHTS: Final = {"account": 640, "holds": 560, "templates": 480, "preferences": 480}
"""The pages, and how much of each is shown; 900 px wide."""


async def take() -> None:
    """One picture of each."""
    from playwright.async_api import async_playwright

    PICTURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        database = Database(f"sqlite:///{temporary}/pictures.db")
        await migrate.upgrade(database)
        async with site(database) as looked, async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
            for name, height in HEIGHTS.items():
                page = await browser.new_page(viewport={"width": 900, "height": height}, color_scheme="light")
                await page.goto(looked.pages[name])
                await page.screenshot(path=PICTURES / f"{name}.png")
            await browser.close()
        await database.close()


if __name__ == "__main__":
    if reason := why_not():
        sys.exit(reason)
    asyncio.run(take())
