"""Take docs/pictures/codec-run.png: an encrypted run in the real Web UI, read through the codec server.

Needs what `tools/pictures.py` needs: `python tools/codec_picture.py`. Plays the first days of a case in the world of
the tests, so nothing else has to run.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.async_api import Page, async_playwright
from temporalio.client import Client

sys.path.insert(0, str(Path(__file__).parent.parent))

from models.database import Database
from simulator.running import simulator_running
from tests.town import DAY, town
from tests.web.codec_wire import served
from tools.pictures import PICTURES, QUIET
from web.codec import Access, create_codec_app
from workers import migrate
from workers.codec import EncryptingCodec, new_key
from workers.connect import data_converter
from workers.settings import Settings
from workers.temporal_process import running_server
from workers.temporal_server import find
from workflows.visible import SEARCH_ATTRIBUTES


async def name_the_codec_server(page: Page, endpoint: str) -> None:
    """As a lead does it once: the glasses at the top, "my browser setting", the endpoint, Apply."""
    await page.get_by_test_id("data-encoder-status").first.click()
    await page.get_by_text("Use my browser setting").click()
    await page.get_by_test_id("data-encoder-endpoint-input").fill(endpoint)
    await page.get_by_role("button", name="Apply").click()
    await page.wait_for_timeout(700)


@asynccontextmanager
async def browser_page() -> AsyncIterator[Page]:
    """A page of a headless Chromium."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=QUIET
        )
        yield await browser.new_page(viewport={"width": 1500, "height": 900})
        await browser.close()


async def photograph(ui: str, endpoint: str) -> None:
    """The first run of the list, with what only the key's owner can read."""
    async with browser_page() as page:
        await page.goto(f"{ui}/namespaces/default/workflows")
        await page.wait_for_timeout(2500)
        await name_the_codec_server(page, endpoint)
        await page.get_by_role("link", name="payment-failure/").first.click()
        await page.wait_for_timeout(2500)
        await page.get_by_text("User Metadata", exact=True).first.click()
        await page.wait_for_timeout(2500)
        await page.screenshot(path=PICTURES / "codec-run.png", clip={"x": 255, "y": 0, "width": 1245, "height": 680})


async def main() -> None:
    """Temporal, the codec server, a case, and then the picture."""
    key = new_key()
    converter = data_converter(Settings(_env_file=None, holdfast_payload_keys=str(key)))
    found = await find(need_time_skipping=True)
    with TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/holdfast.db"
        database = Database(url)
        await migrate.upgrade(database)
        async with (
            running_server(
                found, search_attributes=SEARCH_ATTRIBUTES, skip_time=True, fast_timers=True, ui_port=0
            ) as server,
            simulator_running() as simulator,
        ):
            ui = server.ui_url or ""
            client = await Client.connect(server.address, data_converter=converter)
            app = create_codec_app(database, EncryptingCodec([key]), Access(origins=(ui,)))
            async with served(app) as codec, town(client, simulator, url) as place:
                person = await place.payment_fails("insufficient_funds", cents=7_316_249)
                await place.pass_time(person.case, 3.5 * DAY)
                await photograph(ui, f"{codec}/codec")
        await database.close()


if __name__ == "__main__":
    asyncio.run(main())
