"""What a browser is told not to do: on every answer, whatever its status; pages that need no inline anything."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from models.database import Database
from models.links import link
from models.tables import CaseRow, CaseSubject, Message
from tests.web.events import SECRET
from tests.web.serving import serving
from tests.web.wire import Answer, Receiver, request
from web.app import WebSettings, create_app
from web.security_headers import MAIL_POLICY, PAGE_POLICY
from web.webhooks import StripeEndpoint

LINK_SECRET = "a-secret-for-links-in-tests"
NOW = datetime(2026, 11, 25, tzinfo=UTC)
MAIL = '<p style="color:red" onclick="alert(1)">Pay</p><script>alert(document.domain)</script>'
KEY = "payment-failure/in_1:remind?#%"
EVERY_ANSWER = {
    "content-security-policy": PAGE_POLICY,
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=()",
    "x-robots-tag": "noindex, nofollow",
    "cache-control": "no-store",
}
PAY = link("", LINK_SECRET, "pay", "payment-failure/in_1").encode()
STATUSES = {
    b"/": 200,
    b"/cases": 200,
    b"/outbox": 200,
    b"/outbox/payment-failure/in_1%3Aremind%3F%23%25": 200,
    b"/outbox/unknown": 404,
    b"/outbox/%00": 404,
    b"/mail/unknown": 404,
    PAY: 303,
    b"/pay/forged": 400,
    b"/healthz": 200,
    b"/nowhere": 404,
    b"/openapi.json": 404,
    b"/docs": 404,
    b"/webhooks/stripe": 405,
}


@pytest.fixture
async def site(database: Database) -> AsyncIterator[Receiver]:
    """The application over https as far as it knows, with a case and a mail that means ill."""
    async with database.writing() as session:
        row = CaseRow(
            id="payment-failure/in_1", playbook="payment-failure", account_id="cus_<b>", subject="in_1", opened_at=NOW
        )
        session.add(row)
        await session.flush()
        url = "https://invoice.stripe.com/i/x"
        session.add(CaseSubject(case_id=row.id, subject="in_1", hosted_url=url, joined_at=NOW))
        mail = Message(
            key=KEY,
            case_id=row.id,
            account_id="cus_<b>",
            channel="email",
            template="remind",
            subject="<b>Due</b>",
            text="<i>Pay</i>",
            html=MAIL,
            at=NOW,
        )
        session.add(mail)
    endpoint = StripeEndpoint((SECRET,))
    app = create_app(database, WebSettings(endpoint, LINK_SECRET, public_url="https://pay.example.com"))
    async with serving(app) as port:
        yield Receiver(port, database)


async def get(site: Receiver, path: bytes) -> Answer:
    return await site.exchange(request(b"", [], b"GET", path))


@pytest.mark.parametrize("path", STATUSES, ids=lambda path: "signed-link" if path is PAY else path.decode())
async def test_every_answer_carries_the_security_headers(path: bytes, site: Receiver) -> None:
    answer = await get(site, path)
    assert answer.status == STATUSES[path]
    assert {name: answer.headers.get(name) for name in EVERY_ANSWER} == EVERY_ANSWER
    assert answer.headers["strict-transport-security"] == "max-age=63072000; includeSubDomains"
    assert "server" not in answer.headers


async def test_a_webhook_s_answer_carries_them_too(site: Receiver) -> None:
    answer = await site.send(b"{}")
    assert answer.status == 400
    assert {name: answer.headers.get(name) for name in EVERY_ANSWER} == EVERY_ANSWER


async def test_no_hsts_where_customers_come_by_http(database: Database) -> None:
    app = create_app(database, WebSettings(StripeEndpoint((SECRET,)), LINK_SECRET, public_url="http://127.0.0.1:8080"))
    async with serving(app) as port:
        answer = await get(Receiver(port, database), b"/cases")
    assert answer.status == 200
    assert "strict-transport-security" not in answer.headers


def test_the_policy_of_pages_allows_nothing_inline() -> None:
    assert "unsafe" not in PAGE_POLICY
    assert PAGE_POLICY.startswith("default-src 'none';")
    assert "frame-ancestors 'none'" in PAGE_POLICY
    assert "script-src" not in PAGE_POLICY + MAIL_POLICY, "default-src 'none' stands: no scripts at all"
    assert MAIL_POLICY.startswith("sandbox; "), "without allow-anything"


def test_no_template_holds_anything_inline() -> None:
    templates = sorted((Path(__file__).parents[2] / "web" / "templates").glob("*.html"))
    assert len(templates) >= 5
    for template in templates:
        text = template.read_text(encoding="utf-8")
        assert not re.search(r"<style|<script|\sstyle=|\son\w+=|javascript:|srcdoc|\|\s*safe", text), template.name


async def test_a_mail_is_a_sandboxed_document_of_its_own_and_never_part_of_our_page(site: Receiver) -> None:
    page = await get(site, b"/outbox/payment-failure/in_1%3Aremind%3F%23%25")
    text = page.body.decode()
    (frame,) = re.findall(r"<iframe ([^>]*)>", text)
    assert frame == 'sandbox title="The mail as sent" src="/mail/payment-failure/in_1%3Aremind%3F%23%25"'
    assert "<script" not in text
    assert "<b>Due" not in text
    mail = await get(site, b"/mail/payment-failure/in_1%3Aremind%3F%23%25")
    assert mail.body.decode() == MAIL
    assert mail.headers["content-security-policy"] == MAIL_POLICY
    assert mail.headers["x-frame-options"] == "SAMEORIGIN"
    assert mail.headers["cache-control"] == "no-store"
    assert mail.headers["x-content-type-options"] == "nosniff"


async def test_what_comes_from_outside_is_escaped_in_every_page(site: Receiver) -> None:
    for path in (b"/cases", b"/outbox", b"/outbox/payment-failure/in_1%3Aremind%3F%23%25"):
        text = (await get(site, path)).body.decode()
        assert "cus_&lt;b&gt;" in text
        assert "cus_<b>" not in text


async def test_the_style_sheet_may_be_kept_for_an_hour(site: Receiver) -> None:
    answer = await get(site, b"/style.css")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert answer.headers["cache-control"] == "public, max-age=3600"
    assert b"font:16px" in answer.body


async def test_a_page_without_a_database_is_a_503_with_the_headers() -> None:
    database = Database("postgresql://holdfast@127.0.0.1:9/holdfast")
    app = create_app(database, WebSettings(StripeEndpoint((SECRET,)), LINK_SECRET))
    async with serving(app) as port:
        answer = await get(Receiver(port, database), b"/cases")
    await database.close()
    assert (answer.status, answer.json) == (503, {"error": "the database does not answer; please try again"})
    assert answer.headers["retry-after"] == "5"
    assert {name: answer.headers.get(name) for name in EVERY_ANSWER} == EVERY_ANSWER


@pytest.mark.parametrize("path", [b"/", b"/cases", b"/pay/x", b"/webhooks/stripe", b"/healthz"])
async def test_trace_is_refused_everywhere(path: bytes, site: Receiver) -> None:
    answer = await site.exchange(request(b"", [(b"Cookie", b"secret=1")], b"TRACE", path))
    assert answer.status == 405
    assert b"secret" not in answer.body


async def test_our_own_fault_is_a_500_that_tells_nothing_and_has_the_headers(
    database: Database, capfd: pytest.CaptureFixture[str]
) -> None:
    app = create_app(database, WebSettings(StripeEndpoint((SECRET,)), LINK_SECRET))

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("a secret detail")

    async with serving(app) as port:
        answer = await get(Receiver(port, database), b"/broken")
    assert "RuntimeError: a secret detail" in capfd.readouterr().err, "it is written to the log, as it says"
    assert (answer.status, answer.json) == (500, {"error": "this is our fault; it has been written to the log"})
    assert {name: answer.headers.get(name) for name in EVERY_ANSWER} == EVERY_ANSWER
