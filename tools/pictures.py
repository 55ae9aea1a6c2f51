"""Take the pictures in docs/pictures of a running demo: `python tools/pictures.py TEMPORAL_UI_URL`.

Needs the dependency group `browser` and a Chromium, by default /usr/bin/chromium. Start `holdfast demo --until 12`
in another terminal first; it prints the URL.
"""

import json
import os
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

PICTURES = Path(__file__).parent.parent / "docs" / "pictures"
COLUMNS = ["Status", "Workflow ID", "Stage", "AccountId", "CsmOwner", "Segment", "AmountAtStake", "Currency", "Start"]
QUIET = ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync"]


def with_our_columns(page: Page) -> None:
    """Choose columns for the list as a lead does once by hand; the UI keeps the choice in the browser."""
    columns = [{"label": label} for label in COLUMNS]
    kept = json.dumps({"default": columns})
    page.evaluate("kept => localStorage.setItem('namespace-workflow-table-columns', kept)", kept)


def main(ui: str) -> None:
    """The list of runs with our columns, and one run with its checklist."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=QUIET
        )
        page = browser.new_page(viewport={"width": 1500, "height": 900})
        running = f"{ui}/namespaces/default/workflows?query=ExecutionStatus%3D%22Running%22"
        page.goto(running)
        with_our_columns(page)
        page.goto(running)
        page.wait_for_timeout(3000)
        page.screenshot(path=PICTURES / "temporal-list.png")
        page.get_by_role("link", name="payment-failure/").first.click()
        page.wait_for_timeout(2500)
        page.get_by_text("User Metadata", exact=True).first.click()
        page.wait_for_timeout(2500)
        page.screenshot(path=PICTURES / "temporal-run.png", clip={"x": 255, "y": 60, "width": 1245, "height": 620})
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1])
