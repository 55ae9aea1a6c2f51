"""Nothing personal and no secret in any log: the demo's processes, a bad week, strangers at the door; then a search.

Web, relay and worker run as they are run, each its own process; all that they write ends in one file.
"""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from rich.console import Console
from sqlmodel import select

from models.links import link
from models.tables import Account, EffectRow, InboxEvent, Message
from tests.web.events import encoded, event, invoice, signed
from workers import demo

STRANGER = "mallory.strange@example.org"
PHONE = "+1-202-555-0142"
FAULTS = [
    ("500_before", "/v1/invoices/*/pay"),
    ("cut_after", "/v1/invoices/*/pay"),
    ("429", "/v1/invoices/*"),
    ("500_before", "/v3/mail/send"),
    ("cut_after", "/v3/mail/send"),
    ("500_before", "/product/access"),
]


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Where the demo keeps its database and its log."""
    root = Path(__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", str(root))
    monkeypatch.chdir(tmp_path)
    yield


async def strangers(url: str, secret: str, link_secret: str) -> list[int]:
    """What may come to the door, each with a name or an address in it that an error message could repeat."""
    unreadable = encoded(event(obj=invoice(amount_due=STRANGER, customer_email=STRANGER), id="evt_unreadable"))
    too_long = encoded(event(obj=invoice(customer=STRANGER * 20), id="evt_too_long"))
    token = link("", link_secret, "pay", "payment-failure/in_unknown")
    answers = []
    async with aiohttp.ClientSession() as session:
        posts = [
            (unreadable, signed(unreadable, secret=secret)),
            (too_long, signed(too_long, secret=secret)),
            (unreadable, b"t=1,v1=" + STRANGER.encode()),
            (STRANGER.encode(), signed(STRANGER.encode(), secret=secret)),
        ]
        for body, header in posts:
            headers = {"Stripe-Signature": header.decode(), "X-Name": STRANGER}
            async with session.post(f"{url}/webhooks/stripe", data=body, headers=headers) as answer:
                answers.append(answer.status)
        for path in (f"/pay/{STRANGER}", token, f"/outbox/{STRANGER}", f"/nowhere/{PHONE}?email={STRANGER}"):
            async with session.get(url + path, allow_redirects=False) as answer:
                answers.append(answer.status)
    reader, writer = await asyncio.open_connection(*url.removeprefix("http://").split(":"))
    writer.write(f"NONSENSE {STRANGER} {PHONE}\r\nX\r\n\r\n".encode())
    answers.append(int((await reader.readline()).split()[1]))
    writer.close()
    await writer.wait_closed()
    return answers


@pytest.mark.timeout(240)
async def test_no_secret_and_nothing_personal_is_written_to_any_log(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with (tmp_path / "console").open("w") as paper:
        console = Console(file=paper, width=200)
        async with demo._stage(7, console) as stage:
            environment = stage.worker._env
            secret, link_secret = environment["STRIPE_WEBHOOK_SECRETS"], environment["LINK_SECRET"]
            await stage.population.settle_in(10)
            for kind, path in FAULTS:
                await stage.simulator.add_fault(kind, path, probability=0.3, times=2)
            statuses = await strangers(stage.web_url, secret, link_secret)
            assert statuses == [200, 200, 400, 400, 400, 200, 404, 404, 400]
            await demo._month(stage, console, asyncio.Event(), 8)
            struck = (await stage.simulator.state())["faults"]
            async with stage.database.reading() as session:
                accounts = (await session.exec(select(Account))).all()
                messages = (await session.exec(select(Message))).all()
                effects = (await session.exec(select(EffectRow))).all()
                dead = (await session.exec(select(InboxEvent).where(InboxEvent.state == "dead"))).all()
    log = Path(demo.HOME / "holdfast.log").read_text(errors="replace")
    console_text = (tmp_path / "console").read_text()
    captured = capfd.readouterr()
    everything = log + console_text + captured.out + captured.err

    # It was worth searching: things happened, things broke, and it was written about.
    assert len(accounts) >= 8
    assert len(messages) >= 10
    assert len(effects) >= 30
    assert any(each["struck"] for each in struck), "some faults struck"
    for name in ("web.ready", "relay.ready", "worker.ready", "webhook.unreadable"):
        assert name in log
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert lines
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", line["timestamp"]) for line in lines), "in UTC"
    assert {row.event_id for row in dead} == {"evt_unreadable", "evt_too_long"}
    assert STRANGER in next(row.reason for row in dead if row.event_id == "evt_unreadable"), "the row, not the log"

    secrets = {
        "the Stripe key": "sk_test_demo",
        "the webhook secret": secret,
        "the key in it": secret.removeprefix("whsec_"),
        "the link secret": link_secret,
        "the SendGrid key": environment["SENDGRID_API_KEY"],
        "the product's secret": environment["PRODUCT_WEBHOOK_SECRET"],
        "a stranger's address": STRANGER,
        "a stranger's number": PHONE,
        "a card's number": "4242424242424242",
    }
    personal = {f"the name of {row.id}": row.name for row in accounts}
    personal |= {f"the address of {row.id}": row.email for row in accounts}
    tokens = {f"a pay link in {row.key}": link for row in messages for link in re.findall(r"/pay/([\w.-]+)", row.text)}
    assert len(tokens) >= 5
    assert all(len(value) >= 5 for value in {**secrets, **personal, **tokens}.values())
    leaked = {what for what, value in {**secrets, **personal, **tokens}.items() if value in everything}
    assert leaked == set()
    assert re.findall(r"[\w.+-]+@[\w-]+\.\w+", everything.replace("support@stripe.com", "")) == []
    assert re.findall(r"whsec_\w+|sk_(?:test|live)_\w+|SG\.\w+", everything) == []


def test_what_the_search_would_find_is_spelled_as_a_log_would_spell_it() -> None:
    """JSON lines escape what is not ASCII; the names and addresses searched for need no escaping."""
    assert json.dumps(STRANGER) == f'"{STRANGER}"'
