"""SendGrid, the hosted pages, the customer's product, and the program itself."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
import stripe
from python_http_client.exceptions import (
    BadRequestsError,
    InternalServerError,
    TooManyRequestsError,
    UnauthorizedError,
)
from sendgrid import SendGridAPIClient
from sendgrid.helpers.eventwebhook import EventWebhook
from sendgrid.helpers.mail import Content, CustomArg, Email, Header, Mail, To

from simulator.running import ControlError, SimulatorControl
from tests.simulator.conftest import Receiver, failed_invoice


def letter(to: str = "ada@example.com") -> Mail:
    mail = Mail(from_email=Email("billing@example.com"), to_emails=To(to), subject="Your payment failed")
    mail.add_content(Content("text/plain", "Hello"))
    mail.add_content(Content("text/html", "<p>Hello <b>Ada</b></p>"))
    mail.add_custom_arg(CustomArg("step_id", "case-1:2:email"))
    mail.add_header(Header("List-Unsubscribe", "<https://example.com/u>"))
    return mail


async def send(sim: SimulatorControl, mail: Mail | dict[str, Any], key: str = "SG.test") -> Any:
    sender = SendGridAPIClient(key, host=sim.url)
    sender.client.timeout = 5
    act: Callable[[Any], Any] = sender.send
    return await asyncio.to_thread(act, mail)


async def test_accepted_mail_is_in_the_mailbox(sim: SimulatorControl) -> None:
    answer = await send(sim, letter())
    assert answer.status_code == 202
    mail = (await sim.mailbox())[0]
    assert mail["id"] == answer.headers["X-Message-Id"]
    assert (mail["to"], mail["sender"], mail["subject"], mail["text"]) == (
        ["ada@example.com"],
        "billing@example.com",
        "Your payment failed",
        "Hello",
    )
    assert mail["custom_args"] == {"step_id": "case-1:2:email"}
    assert mail["headers"] == {"List-Unsubscribe": "<https://example.com/u>"}
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{sim.url}/mailbox") as page:
            assert f"/mailbox/{mail['id']}" in await page.text()
        async with session.get(f"{sim.url}/mailbox/{mail['id']}") as page:
            assert "&lt;b&gt;Ada&lt;/b&gt;" in await page.text()


async def test_bad_mail_and_bad_key(sim: SimulatorControl) -> None:
    with pytest.raises(BadRequestsError) as refused:
        await send(sim, {"personalizations": [{}]})
    fields = [problem["field"] for problem in json.loads(refused.value.body)["errors"]]
    assert fields == ["from.email", "personalizations.0.to", "subject", "content"]
    with pytest.raises(UnauthorizedError):
        await send(sim, letter(), key="wrong")
    assert await sim.mailbox() == []


@pytest.mark.parametrize(
    ("kind", "error", "accepted"),
    [
        ("429", TooManyRequestsError, 0),
        ("500_before", InternalServerError, 0),
        ("500_after", InternalServerError, 1),
        ("cut_before", OSError, 0),
        ("cut_after", OSError, 1),
    ],
)
async def test_mail_faults(sim: SimulatorControl, kind: str, error: type[Exception], accepted: int) -> None:
    await sim.add_fault(kind, "/v3/mail/send")
    with pytest.raises(error):
        await send(sim, letter())
    assert len(await sim.mailbox()) == accepted


async def test_signed_events(sim: SimulatorControl, receiver: Receiver) -> None:
    settings = await sim.sendgrid(
        event_url=receiver.url, duplicate=1.0, suppressed=["gone@example.com"], bouncing=["bad@example.com"]
    )
    for address in ("ada@example.com", "bad@example.com", "gone@example.com"):
        await send(sim, letter(address))
    await sim.settled()
    verifier = EventWebhook(settings["public_key"])
    for body, headers in zip(receiver.bodies, receiver.headers, strict=True):
        signature = headers["X-Twilio-Email-Event-Webhook-Signature"]
        timestamp = headers["X-Twilio-Email-Event-Webhook-Timestamp"]
        assert verifier.verify_signature(body.decode(), signature, timestamp) is True
        assert verifier.verify_signature(body.decode() + " ", signature, timestamp) is False
    events = [event for body in receiver.bodies for event in json.loads(body)]
    unique = {event["sg_event_id"]: (event["email"].split("@")[0], event["event"]) for event in events}
    assert sorted(unique.values()) == [
        ("ada", "delivered"),
        ("ada", "processed"),
        ("bad", "bounce"),
        ("bad", "processed"),
        ("gone", "dropped"),
    ]
    assert len(events) == 10
    assert {event["step_id"] for event in events} == {"case-1:2:email"}
    assert len(await sim.mailbox()) == 2


async def test_hosted_page_pays(sim: SimulatorControl, client: stripe.StripeClient) -> None:
    account, invoice_id = await failed_invoice(sim, client)
    url = (await client.v1.invoices.retrieve_async(invoice_id)).hosted_invoice_url
    assert url is not None
    async with aiohttp.ClientSession() as session:
        async with session.get(url) as page:
            assert "Pay with a new card" in await page.text()
        async with session.post(url, data={"number": "4000000000009995"}) as page:
            assert page.status == 402
            assert "Your card was declined." in await page.text()
        async with session.post(url, data={"number": "5555 5555 5555 4444"}) as page:
            text = await page.text()
    assert '<span class="status" id="status">paid</span>' in text
    assert "Pay with a new card" not in text
    last = (await sim.ledger())[-1]
    assert (last["by"], last["outcome"], last["customer"]) == ("customer", "ok", account.customer)


async def test_product_records_calls(sim: SimulatorControl) -> None:
    await sim.add_fault("503", "/product/access", times=1)
    async with aiohttp.ClientSession() as session:
        statuses = []
        for _ in range(2):
            async with session.post(
                f"{sim.url}/product/access", json={"access": "limited"}, headers={"X-Signature": "s"}
            ) as answer:
                statuses.append(answer.status)
    assert statuses == [503, 200]
    calls = await sim.product_calls()
    assert [(call["body"], call["headers"]["x-signature"]) for call in calls] == [({"access": "limited"}, "s")]


async def test_control_refuses_nonsense(sim: SimulatorControl) -> None:
    nonsense: list[tuple[str, dict[str, Any]]] = [
        ("nothing", {}),
        ("cycle", {}),
        ("settings", {"colour": 1}),
        ("webhooks", {"colour": 1}),
        ("faults", {"rules": [{"kind": "tea", "path": "*"}]}),
    ]
    for path, body in nonsense:
        with pytest.raises(ControlError):
            await sim.call("POST", path, **body)


async def test_the_program_prints_its_address() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "simulator", "--port", "0", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    url = json.loads(await process.stdout.readline())["url"]
    async with aiohttp.ClientSession() as session, session.get(f"{url}/_sim/state") as answer:
        assert (await answer.json())["charge_attempts"] == 0
    process.terminate()
    await process.wait()
