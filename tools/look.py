"""Look at every page and mail in a real browser: `python -m tools.look FOLDER [NAMES]`, pictures and axe-core's word.

NAMES is a pattern of pages' names, such as `^mail dunning` or `cases|holds`. Each page is taken narrow (375 px) and
wide (1280 px), light and dark. Needs the dependency group `browser` and a Chromium, by default /usr/bin/chromium.
Exit code 1 where axe finds something or a page scrolls sideways.
"""

import asyncio
import re
import sys
import tempfile
from pathlib import Path

from models.database import Database
from tests.web.browser import CHROMIUM, QUIET, SCHEMES, WIDTHS, complaints, opened, site, why_not
from workers import migrate


async def look(folder: Path, only: re.Pattern[str]) -> int:
    """Take the pictures of pages whose name fits `only`; how many complaints there were."""
    from playwright.async_api import async_playwright

    bad = 0
    with tempfile.TemporaryDirectory() as temporary:
        database = Database(f"sqlite:///{temporary}/look.db")
        await migrate.upgrade(database)
        async with site(database) as looked, async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
            for width, scheme in [(width, scheme) for width in WIDTHS for scheme in SCHEMES]:
                page = await opened(browser, width, scheme)
                for name, address in looked.pages.items():
                    if not only.search(name):
                        continue
                    await page.goto(address)
                    await page.screenshot(
                        path=folder / f"{name.replace(' ', '-')}-{width}-{scheme}.png", full_page=True
                    )
                    found = await complaints(page)
                    bad += len(found)
                    for each in found:
                        print(f"{name} {width} {scheme}: {each}")  # noqa: T201 - a tool
                await page.context.close()
            await browser.close()
        await database.close()
    return bad


if __name__ == "__main__":
    if reason := why_not():
        sys.exit(reason)
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    sys.exit(1 if asyncio.run(look(target, re.compile(sys.argv[2] if len(sys.argv) > 2 else ""))) else 0)
