"""Every page as it looks with something on it, for a real browser: sample rows, addresses, and axe-core over each.

`tools/look.py` takes pictures of all of it; `test_in_browser.py` asserts that axe finds nothing.
"""

import importlib.util
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from models.consent_rows import Suppression, TopicChoice
from models.contact_rows import Deferral, Hold
from models.customers import Contact, OfferRow
from models.database import Database
from models.links import link
from models.policy import Policy
from models.tables import Account, CaseNote, CaseRow, EffectRow, Message, wall
from tests.web.wire import receiving
from workers.authoring import catalogue_for_the_web
from workers.letter_samples import samples
from workflows import PLAYBOOKS
from workflows.steps import name_of

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page, ViewportSize

SECRET: Final = "a-secret-for-links-in-tests"
CHROMIUM: Final = os.environ.get("CHROMIUM", "/usr/bin/chromium")
QUIET: Final = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-sync",
    "--no-first-run",
]
WIDTHS: Final = {"narrow": 375, "wide": 1280}
Scheme = Literal["light", "dark"]
SCHEMES: Final[tuple[Scheme, ...]] = ("light", "dark")
DAY = timedelta(days=1)
CASE = "payment-failure/in_1QxYz2AbCdEfGh"
RENEWAL = "renewal/con_9/2026-12-31"
USAGE = "usage-decline/cus_QwErTy12345/2026-11-20"


def why_not() -> str:
    """Why there is no browser to look with; empty where there is one."""
    missing = [name for name in ("playwright", "axe_playwright_python") if importlib.util.find_spec(name) is None]
    if missing:
        return f"{', '.join(missing)} is not installed: the dependency group `browser`"
    return "" if Path(CHROMIUM).exists() else f"there is no Chromium at {CHROMIUM}; CHROMIUM names another"


@dataclass
class Looked:
    """The pages by a short name, each with its address."""

    base: str
    pages: dict[str, str] = field(default_factory=dict)


async def fill(database: Database, html: str) -> None:
    """An account in trouble, with all that a page may show; `html` is a mail's."""
    now = wall().replace(microsecond=0)
    account = "cus_QwErTy12345"
    rows: list[Any] = [
        Account(
            id=account, name="Zoe Miller", company="Northwind Traders and Sons (Holding) GmbH", owner="ana", mrr=129_900
        ),
        Contact(id="con_1", account_id=account, role="champion", name="Max Muster", email="max@example.com"),
    ]
    for number, (case, playbook, ended) in enumerate(
        [
            (CASE, "payment-failure", False),
            (USAGE, "usage-decline", False),
            ("renewal/con_9/2026-12-31", "renewal", True),
        ]
    ):
        rows.append(
            CaseRow(
                id=case,
                playbook=playbook,
                account_id=account,
                subject="in_1QxYz2AbCdEfGh",
                started=True,
                stage="Urgent",
                last_title="Day 7: Last retry, and the CSM is told.",
                next_title="" if ended else "Day 14: Restrict the account and give final notice.",
                next_at=None if ended else now + 7 * DAY,
                at_stake=129_900 - number,
                currency="usd",
                opened_at=now - 8 * DAY,
                ended=ended,
                state="ended" if ended else "open",
                ended_at=now if ended else None,
                outcome="renewed" if ended else "",
                reason="contract.signed" if ended else "",
            )
        )
    states = [
        ("done", "required_notice", "a billing notice"),
        ("dropped", "topic_not_wanted", "wants no mails about 'Offers'"),
        ("in_doubt", "", "the connection to SendGrid was lost: TimeoutError"),
        ("dropped", "address_bounced", "the address takes no mail"),
    ]
    for number, (state, rule, reason) in enumerate(states):
        key = f"{CASE}/remind/{number}"
        rows.append(
            EffectRow(
                key=key,
                case_id=CASE,
                account_id=account,
                playbook="payment-failure",
                step="remind",
                kind="email",
                title="E-mail dunning.d3",
                state=state,
                rule=rule,
                reason=reason,
                nature="required",
                at=now - (8 - number) * DAY,
            )
        )
        rows.append(
            Message(
                key=key,
                account_id=account,
                case_id=CASE,
                channel="email",
                template="dunning.d3",
                recipient="zoe@example.com",
                subject="Quick reminder - update your card",
                html=html,
                text="Hello Zoe,\n\nyour payment did not go through.\n",
                at=now - 5 * DAY,
            )
        )
    an_offer: dict[str, Any] = {"account_id": account, "case_id": USAGE, "months": 3, "made_at": now - DAY}
    an_offer |= {"expires_at": now + 7 * DAY}
    rows += [
        Deferral(
            key=f"{USAGE}/write/1",
            case_id=USAGE,
            account_id=account,
            playbook="usage-decline",
            step="write",
            kind="email",
            title="E-mail usage.d3",
            rule="hours",
            reason="Sat 21 Nov, 10:00 in Europe/Berlin is not a working day",
            at=now - DAY,
            until=now + DAY,
        ),
        Hold(scope="playbook", name="win-back", reason="new prices first", placed_by="ana"),
        Suppression(reader="0f", why="bounced", said="5.1.1", account_id=account, effect=key, at=now - DAY),
        TopicChoice(account_id=account, contact_id="con_1", topic="offers", wanted=False, at=now - DAY),
        CaseNote(case_id=CASE, at=now - DAY, by="ana", text="They pay by transfer on Friday."),
        OfferRow(key="offer/1", pct=20, **an_offer),
        OfferRow(key="offer/2", what="pause", **an_offer),
    ]
    async with database.writing() as session:
        session.add_all(rows)


@asynccontextmanager
async def site(database: Database) -> AsyncIterator[Looked]:
    """The application with every page on it."""
    written = samples(Policy())
    await fill(database, next(each.html for each in written if each.key == "dunning.d3"))
    names = tuple(name_of(each) for each in PLAYBOOKS)
    ui: dict[str, Any] = {"temporal_ui": "http://127.0.0.1:8233", "playbooks": names}
    async with receiving(database, catalogue=catalogue_for_the_web, samples=lambda: written, **ui) as receiver:
        base = f"http://127.0.0.1:{receiver.port}"
        looked = Looked(base)
        looked.pages = {
            "cases": f"{base}/cases",
            "account": f"{base}/accounts/cus_QwErTy12345",
            "holds": f"{base}/holds",
            "outbox": f"{base}/outbox",
            "letter": f"{base}/outbox/{CASE}/remind/0",
            "playbooks": f"{base}/playbooks",
            "templates": f"{base}/templates",
            "template": f"{base}/templates/dunning.d0/de",
            "offer": link(base, SECRET, "offer", "offer/1"),
            "pause": link(base, SECRET, "offer", "offer/2"),
            "unsubscribe": link(base, SECRET, "unsubscribe", "cus_QwErTy12345"),
            "preferences": link(base, SECRET, "preferences", "tips cus_QwErTy12345 con_1"),
            "notice": f"{base}/no/such/page",
        }
        looked.pages |= {
            f"mail {each.key} {each.locale}": f"{base}/templates/{each.key}/{each.locale}/mail"
            for each in written
            if each.html
        }
        yield looked


async def opened(browser: "Browser", width: str, scheme: Scheme) -> "Page":
    """An empty page of one width and colour scheme. Our own policy forbids scripts, axe-core's too; here it is off."""
    size: ViewportSize = {"width": WIDTHS[width], "height": 800}
    context = await browser.new_context(viewport=size, color_scheme=scheme, bypass_csp=True)
    return await context.new_page()


async def complaints(page: "Page") -> list[str]:
    """What axe-core finds on the page as it stands (rule, how bad, the first place), and whether it is too wide."""
    from axe_playwright_python.async_playwright import Axe

    # A mail is read inside the page of a mail program, which has the landmarks.
    inside = {"rules": {name: {"enabled": False} for name in ("landmark-one-main", "region")}}
    found = await Axe().run(page, options=inside if page.url.endswith("/mail") else None)
    over: int = await page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    return [
        f"{each['id']} ({each['impact']}): {each['nodes'][0]['target']} {each['nodes'][0].get('failureSummary')}"
        for each in found.response["violations"]
    ] + ([f"{over} px wider than the window"] if over > 0 else [])
