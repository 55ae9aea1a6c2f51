"""Where a webhook of ours may go. Real HTTP on loopback; a resolver that lies, as a hostile name server would."""

import asyncio
import ipaddress
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from pydantic import SecretStr

from activities.access import ProductAccess
from activities.outgoing_webhooks import Undelivered, forbidden, post, refusal
from activities.systems import TryAgain
from models.cases import Batch, SetAccess
from models.database import Database
from models.picture import Picture
from models.tables import Access, EffectRow, wall
from workers.settings import Settings

PRIVATE = [
    "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "fd00::1", "fec0::1", "::ffff:10.0.0.1",
    "64:ff9b::a00:1", "2002:a00:1::1", "192.0.2.1", "198.18.0.1", "2001:db8::1",
]  # fmt: skip
LOOPBACK = ["127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"]
NEVER = {
    "169.254.169.254": "a cloud's metadata service",
    "169.254.170.2": "a cloud's metadata service",
    "100.100.100.200": "a cloud's metadata service",
    "192.0.0.192": "a cloud's metadata service",
    "fd00:ec2::254": "a cloud's metadata service",
    "::ffff:169.254.169.254": "a cloud's metadata service",
    "64:ff9b::a9fe:a9fe": "a cloud's metadata service",
    "2002:a9fe:a9fe::1": "a cloud's metadata service",
    "169.254.1.1": "link-local",
    "fe80::1": "link-local",
    "0.0.0.0": "unspecified",  # noqa: S104 - not bound to
    "::": "unspecified",
    "224.0.0.1": "multicast",
    "ff02::1": "multicast",
    "255.255.255.255": "reserved",
    "240.0.0.1": "reserved",
}
PUBLIC = ["93.184.215.14", "1.1.1.1", "172.32.0.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]


@pytest.mark.parametrize("address", [*PRIVATE, *LOOPBACK])
def test_private_addresses_are_open_only_where_they_are_allowed(address: str) -> None:
    parsed = ipaddress.ip_address(address)
    assert forbidden(parsed, allow_private=False) == ("loopback" if address in LOOPBACK else "private")
    assert forbidden(parsed, allow_private=True) == ""


@pytest.mark.parametrize("address", NEVER)
@pytest.mark.parametrize("allowed", [True, False])
def test_metadata_services_and_link_local_are_never_open(address: str, allowed: bool) -> None:
    assert forbidden(ipaddress.ip_address(address), allow_private=allowed) == NEVER[address]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_open(address: str) -> None:
    assert forbidden(ipaddress.ip_address(address), allow_private=False) == ""


NOT_A_URL = "is not a URL: it looks like https://product.example.com/holdfast"
LOOP = "leads to an address that is refused (loopback); PRODUCT_WEBHOOK_PRIVATE=true allows it"
META = "leads to an address that is refused (a cloud's metadata service)"
URLS = {
    "https://product.example.com/holdfast": "",
    "https://1.1.1.1:8443/x": "",
    "https://[2606:4700::1111]/": "",
    "http://product.example.com/": "must start with https://: it tells who has not paid",
    "https://127.0.0.1/": LOOP,
    "https://127.1/": LOOP,
    "https://2130706433/": LOOP,
    "https://0x7f.0.0.1/": LOOP,
    "https://0177.0.0.1/": LOOP,
    "https://[::1]/": LOOP,
    "https://[::ffff:127.0.0.1]/": LOOP,
    "https://localhost/": LOOP,
    "https://LOCALHOST./": LOOP,
    "https://a.localhost/": LOOP,
    "https://notlocalhost/": "",
    "https://10.1.2.3/": LOOP.replace("loopback", "private"),
    "https://169.254.169.254/latest/meta-data/": META,
    "https://2852039166/": META,
    "https://metadata.google.internal/": META,
    "https://user:pw@product.example.com/": "must not hold a user or a password: "
    "it is signed with PRODUCT_WEBHOOK_SECRET",
    "https://product.example.com@127.0.0.1/": "must not hold a user or a password: "
    "it is signed with PRODUCT_WEBHOOK_SECRET",
    "ftp://product.example.com/": NOT_A_URL,
    "file:///etc/passwd": NOT_A_URL,
    "product.example.com": NOT_A_URL,
    "https://": NOT_A_URL,
    "https://[::1": NOT_A_URL,
    "https://product.example.com:99999/": NOT_A_URL,
}


@pytest.mark.parametrize("url", URLS)
def test_what_is_said_of_a_url_before_anything_is_sent(url: str) -> None:
    assert refusal(url, allow_private=False) == URLS[url]


def settings(**changes: Any) -> Settings:
    good = {
        "stripe_api_key": SecretStr("sk_live_abcd1234"),
        "stripe_webhook_secrets": "whsec_abcd1234",
        "link_secret": SecretStr("0123456789abcdef"),
        "product_webhook_secret": SecretStr("whsec_abcd1234"),
        "product_webhook_url": "http://127.0.0.1:9/",
    }
    return Settings(_env_file=None, **{**good, **changes})


def test_at_start_up_a_loopback_product_is_refused_with_a_live_key() -> None:
    assert settings().problems() == ["PRODUCT_WEBHOOK_URL must start with https://: it tells who has not paid"]
    assert settings(product_webhook_url="https://127.0.0.1/").problems() == [f"PRODUCT_WEBHOOK_URL {LOOP}"]
    assert settings(product_webhook_private=True).problems() == []


def test_at_start_up_a_loopback_product_is_taken_with_a_test_key_unless_it_is_switched_off() -> None:
    key = SecretStr("sk_test_abcd1234")
    assert settings(stripe_api_key=key).problems() == []
    refused = settings(stripe_api_key=key, product_webhook_private=False, product_webhook_url="https://localhost/")
    assert refused.problems() == [f"PRODUCT_WEBHOOK_URL {LOOP}"]


def test_at_start_up_a_metadata_service_is_refused_whatever_is_allowed() -> None:
    told = settings(product_webhook_url="http://169.254.169.254/", product_webhook_private=True).problems()
    assert told == [f"PRODUCT_WEBHOOK_URL {META}"]


class Liar(AbstractResolver):
    """Answers with each list of addresses in turn, the last one for ever; counts how often it was asked."""

    def __init__(self, port: int, *answers: list[str]) -> None:
        self.port = port
        self.answers = answers
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        addresses = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        return [
            ResolveResult(
                hostname=host,
                host=each,
                port=self.port,
                family=socket.AF_INET6 if ":" in each else socket.AF_INET,
                proto=0,
                flags=0,
            )
            for each in addresses
        ]

    async def close(self) -> None:
        """Nothing to close."""


class Listener:
    """A real server that keeps the requests it got and says `answer`, then whatever `after` yields."""

    def __init__(self, answer: bytes, endless: bytes = b"") -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self.port = 0
        self._answer, self._endless = answer, endless
        self.sent = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            self.requests.append(await reader.readuntil(b"\r\n\r\n{}"))
            writer.write(self._answer)
            while self._endless:
                writer.write(self._endless)
                self.sent += len(self._endless)
                await writer.drain()
            await writer.drain()
            await reader.read(1)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()


@asynccontextmanager
async def listening(answer: bytes, endless: bytes = b"") -> AsyncIterator[Listener]:
    listener = Listener(answer, endless)
    server = await asyncio.start_server(listener.serve, "127.0.0.1", 0)
    listener.port = server.sockets[0].getsockname()[1]
    async with server:
        yield listener


OK = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"


async def test_a_name_that_leads_to_a_private_address_is_refused_before_any_connection() -> None:
    async with listening(OK) as listener:
        liar = Liar(listener.port, ["127.0.0.1"])
        with pytest.raises(Undelivered) as refused:
            await post("https://product.example.com/", b"{}", {}, resolver=liar)
        assert str(refused.value) == "its name leads to an address that is refused (loopback)"
        assert (liar.asked, listener.connections) == (1, 0)


async def test_one_bad_address_among_good_ones_is_enough_to_refuse() -> None:
    with pytest.raises(Undelivered, match="refused \\(a cloud's metadata service\\)"):
        liar = Liar(80, ["1.1.1.1", "169.254.169.254"])
        await post("http://product.example.com/", b"{}", {}, allow_private=True, resolver=liar)


async def test_a_name_is_looked_up_once_and_connected_to_where_it_was_judged() -> None:
    """DNS rebinding: the second answer would be refused, or worse, taken."""
    async with listening(OK) as listener:
        liar = Liar(listener.port, ["127.0.0.1"], ["169.254.169.254"])
        url = f"http://product.example.com:{listener.port}/hook"
        assert await post(url, b"{}", {"webhook-id": "a"}, allow_private=True, resolver=liar) == 204
        assert (liar.asked, listener.connections) == (1, 1)
        head = listener.requests[0].decode().lower()
        assert head.startswith("post /hook http/1.1\r\n")
        assert f"host: product.example.com:{listener.port}\r\n" in head
        assert "webhook-id: a\r\n" in head


async def test_an_address_that_is_written_out_is_judged_though_no_resolver_is_asked() -> None:
    async with listening(OK) as listener:
        for host in ("127.0.0.1", "2130706433", "[::ffff:127.0.0.1]"):
            with pytest.raises(Undelivered, match="the URL leads to an address that is refused \\(loopback\\)"):
                await post(f"https://{host}:{listener.port}/", b"{}", {})
        assert listener.connections == 0


async def test_a_redirect_is_not_followed() -> None:
    async with listening(OK) as secret:
        moved = f"HTTP/1.1 307 Moved\r\nLocation: http://127.0.0.1:{secret.port}/\r\nContent-Length: 0\r\n\r\n".encode()
        async with listening(moved) as listener:
            assert await post(f"http://127.0.0.1:{listener.port}/", b"{}", {}, allow_private=True) == 307
        assert secret.connections == 0


@pytest.mark.parametrize("coding", [b"", b"Content-Encoding: gzip\r\n"])
async def test_an_endless_answer_is_not_read(coding: bytes) -> None:
    async with listening(b"HTTP/1.1 200 OK\r\n" + coding + b"\r\n", b"x" * 65_536) as listener:
        started = time.monotonic()
        assert await post(f"http://127.0.0.1:{listener.port}/", b"{}", {}, allow_private=True) == 200
        assert time.monotonic() - started < 2
        assert listener.sent < 20_000_000


async def test_endless_headers_are_not_read() -> None:
    async with listening(b"HTTP/1.1 200 OK\r\n", b"X: " + b"x" * 65_536) as listener:
        with pytest.raises(Undelivered):
            await post(f"http://127.0.0.1:{listener.port}/", b"{}", {}, allow_private=True, timeout_s=2)
        assert listener.sent < 20_000_000


async def test_a_silent_product_is_given_up_after_the_timeout() -> None:
    async with listening(b"") as listener:
        with pytest.raises(Undelivered, match="Timeout"):
            await post(f"http://127.0.0.1:{listener.port}/", b"{}", {}, allow_private=True, timeout_s=0.1)


async def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening(OK) as listener, listening(OK) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert await post(f"http://127.0.0.1:{listener.port}/", b"{}", {}, allow_private=True) == 204
        assert (listener.connections, proxy.connections) == (1, 0)


async def test_a_refused_product_is_tried_again_later_and_the_row_is_kept(database: Database) -> None:
    async with listening(OK) as listener:
        access = ProductAccess(database, f"https://127.0.0.1:{listener.port}/", "whsec_abcd")
        batch = Batch(
            case="case",
            account="cus_1",
            subject="in_1",
            playbook="payment-failure",
            step="restrict",
            title="Restrict",
            since=wall(),
            now=wall(),
        )
        effect = SetAccess(key="case/1", title="Restrict", level="restricted")
        async with database.writing() as session:
            claim: dict[str, Any] = {"case_id": "case", "account_id": "cus_1", "playbook": "p", "step": "restrict"}
            session.add(EffectRow(key=effect.key, kind="access", title="Restrict", state="claimed", at=wall(), **claim))
        with pytest.raises(TryAgain) as told:
            await access.perform(effect, batch, Picture())
        assert str(told.value).startswith(
            "the product could not be reached: the URL leads to an address that is refused"
        )
        assert listener.connections == 0
    async with database.reading() as session:
        row = await session.get(Access, "cus_1")
    assert row is not None
    assert row.level == "restricted", "for the product to poll"
