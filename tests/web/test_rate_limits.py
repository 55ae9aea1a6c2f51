"""Rate limits: what one address may ask for, what it is told beyond that, and that a flood costs no memory."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from models.database import Database
from tests.web.events import SECRET, encoded, event, signed
from tests.web.serving import serving
from tests.web.wire import Answer, Receiver, request
from web.app import WebSettings, create_app
from web.rate_limits import Rate, RateLimits, TokenBuckets, route_class, who
from web.webhooks import StripeEndpoint

TIGHT = RateLimits(webhooks=Rate(0.01, 2), pages=Rate(0.01, 3))
GOOD = encoded(event())


@asynccontextmanager
async def limited(database: Database, limits: RateLimits = TIGHT, **more: str) -> AsyncIterator[Receiver]:
    """The application with limits that a test can reach, on the server that is really run."""
    app = create_app(database, WebSettings(StripeEndpoint((SECRET,)), "a-secret-for-links-in-tests", limits=limits))
    async with serving(app, **more) as port:
        yield Receiver(port, database)


async def get(receiver: Receiver, path: bytes, *headers: tuple[bytes, bytes]) -> Answer:
    return await receiver.exchange(request(b"", headers, b"GET", path))


async def test_a_webhook_beyond_the_limit_is_a_429_with_retry_after_and_stores_nothing(database: Database) -> None:
    async with limited(database) as receiver:
        made = [encoded(event(id=f"evt_{number}")) for number in range(3)]
        answers = [await receiver.send(body) for body in made]
        assert [answer.status for answer in answers] == [200, 200, 429]
        assert answers[2].json == {"error": "too many requests from this address; nothing was stored"}
        assert 90 <= int(answers[2].headers["retry-after"]) <= 100, "a token every 100 s"
        assert answers[2].headers["cache-control"] == "no-store"
        assert [row.event_id for row in await receiver.rows()] == ["evt_0", "evt_1"]


async def test_pages_and_webhooks_are_counted_apart(database: Database) -> None:
    async with limited(database) as receiver:
        pages = [
            (await get(receiver, path)).status for path in (b"/cases", b"/outbox", b"/pay/x", b"/cases", b"/nowhere")
        ]
        assert pages == [200, 200, 400, 429, 429]
        assert (await receiver.send(GOOD)).status == 200


async def test_the_health_check_is_never_limited(database: Database) -> None:
    async with limited(database) as receiver:
        assert {(await get(receiver, b"/healthz")).status for _ in range(10)} == {200}


async def test_refused_webhooks_count_too(database: Database) -> None:
    async with limited(database) as receiver:
        answers = [(await receiver.send(GOOD, signature=b"t=1,v1=a")).status for _ in range(3)]
        assert answers == [400, 400, 429]


async def test_the_address_that_a_stranger_claims_is_not_believed(database: Database) -> None:
    async with limited(database, trusted_proxies="192.0.2.1") as receiver:
        claims = [(b"X-Forwarded-For", b"203.0.113.%d" % number) for number in range(4)]
        assert [(await get(receiver, b"/cases", claim)).status for claim in claims] == [200, 200, 200, 429]


async def test_behind_a_trusted_proxy_each_client_has_its_own_limit(database: Database) -> None:
    async with limited(database, trusted_proxies="127.0.0.1") as receiver:
        for number in range(2):
            claim = (b"X-Forwarded-For", b"203.0.113.%d" % number)
            # A page for all: staff pages are not shown to an address that is not this machine's.
            assert [(await get(receiver, b"/style.css", claim)).status for _ in range(4)] == [200, 200, 200, 429]


async def test_no_limit_where_it_is_switched_off(database: Database) -> None:
    async with limited(database, RateLimits(webhooks=Rate(0, 1), pages=Rate(0, 1))) as receiver:
        assert {(await get(receiver, b"/pay/x")).status for _ in range(5)} == {400}


def test_a_bucket_fills_up_again_with_time_and_no_higher_than_its_burst() -> None:
    buckets = TokenBuckets(Rate(2, 3))
    assert [buckets.take("a", 100) for _ in range(4)] == [0, 0, 0, 0.5]
    assert buckets.take("a", 100.25) == 0.25
    assert [buckets.take("a", 100.5), buckets.take("a", 100.5)] == [0, 0.5]
    assert [buckets.take("a", 9_999) for _ in range(4)] == [0, 0, 0, 0.5]
    assert buckets.take("b", 9_999) == 0, "another address is not held up"


def test_a_flood_of_addresses_does_not_grow_the_memory() -> None:
    buckets = TokenBuckets(Rate(1, 1), most=1_000)
    for number in range(100_000):
        buckets.take(f"203.0.113.{number}", number / 1_000)
    assert len(buckets) == 1_000
    assert sys.getsizeof(buckets._buckets) < 200_000
    assert buckets.take("203.0.113.99999", 100) > 0, "the newest is still remembered"


def test_an_address_that_goes_on_asking_is_not_forgotten_in_a_flood() -> None:
    buckets = TokenBuckets(Rate(0.001, 1), most=10)
    assert buckets.take("noisy", 0) == 0
    for number in range(1_000):
        buckets.take(f"other-{number}", 0)
        assert buckets.take("noisy", 0) > 0


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", "unknown"),
        (None, "unknown"),
        ("x" * 60_000, "unknown"),
    ],
)
def test_who_is_counted_as_one(address: str | None, counted: str) -> None:
    assert who(address) == counted


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/webhooks/stripe", "webhooks"),
        ("/events", "webhooks"),
        ("/segment", "webhooks"),
        ("/healthz", None),
        ("/healthz/", "pages"),
        ("/pay/x", "pages"),
        ("/", "pages"),
        ("", "pages"),
    ],
)
def test_the_class_of_a_route(path: str, kind: str | None) -> None:
    assert route_class(path) == kind


async def test_many_at_once_get_no_more_than_the_burst(database: Database) -> None:
    async with limited(database, RateLimits(webhooks=Rate(0.01, 7))) as receiver:
        sent = [request(b"{}", [(b"Stripe-Signature", signed(b"{}"))]) for _ in range(20)]
        statuses = [answer.status for answer in await asyncio.gather(*map(receiver.exchange, sent))]
        assert sorted(statuses) == [400] * 7 + [429] * 13
