"""Webhooks that we send, without being led to where they must not go (server-side request forgery).

An address is looked up once, judged, and connected to; a name that resolves to another address a moment later
(DNS rebinding) gains nothing. Redirects are not followed, proxies of the environment not asked, answers not read.
"""

import base64
import hashlib
import hmac
import ipaddress
import socket
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

TIMEOUT_S: Final = 10
"""For all of it: looking the name up, connecting, sending, and the status line."""
METADATA_NAMES: Final = ("metadata.google.internal", "metadata.goog", "instance-data")
METADATA: Final = tuple(
    map(ipaddress.ip_address, ("169.254.169.254", "169.254.170.2", "100.100.100.200", "192.0.0.192", "fd00:ec2::254"))
)
"""Where clouds hand out credentials (AWS, ECS, Alibaba, Oracle, AWS over IPv6); never a product."""
NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Undelivered(Exception):
    """Nothing was delivered: no connection, no answer in time, or an address we refuse. The message names no secret."""


class _Forbidden(OSError):
    pass


def forbidden(address: Address, *, allow_private: bool) -> str:
    """Why we do not connect to an address: "link-local", "private" and the like; "" if we do.

    With `allow_private` loopback and private networks are open; metadata services and link-local never are.
    """
    inner = _carried(address)
    if inner is not None:
        return forbidden(inner, allow_private=allow_private)
    if address in METADATA:
        return "a cloud's metadata service"
    if address.is_link_local:
        return "link-local"
    if address.is_multicast:
        return "multicast"
    if address.is_unspecified:
        return "unspecified"
    if address.is_loopback:
        return "" if allow_private else "loopback"
    if isinstance(address, ipaddress.IPv6Address) and address.is_site_local:
        return "" if allow_private else "private"
    if address.is_private or not address.is_global:
        reserved = address.is_reserved or int(address) == 2**32 - 1
        return "reserved" if reserved else "" if allow_private else "private"
    return ""


def _carried(address: Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 one stands for (mapped, 6to4, Teredo, NAT64), which is where packets would go."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address.ipv4_mapped or address.sixtofour:
        return address.ipv4_mapped or address.sixtofour
    if address.teredo:
        return address.teredo[1]
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in NAT64 else None


def refusal(url: str, *, allow_private: bool) -> str:
    """Why a URL cannot be used, as the end of a sentence that begins with its setting's name; "" if it can.

    Looks nothing up: names are judged again, by their addresses, whenever a webhook is sent.
    """
    try:
        parsed = URL(url)
        host, scheme, _ = parsed.raw_host or "", parsed.scheme, parsed.port
    except ValueError:
        return "is not a URL: it looks like https://product.example.com/holdfast"
    if scheme not in ("http", "https") or not host:
        return "is not a URL: it looks like https://product.example.com/holdfast"
    if parsed.user is not None or parsed.password is not None:
        return "must not hold a user or a password: it is signed with PRODUCT_WEBHOOK_SECRET"
    if scheme == "http" and not allow_private:
        return "must start with https://: it tells who has not paid"
    name = host.lower().rstrip(".")
    why = "a cloud's metadata service" if name in METADATA_NAMES else ""
    if f".{name}".endswith(".localhost") and not allow_private:
        why = "loopback"
    for address in _literal(host):
        why = why or forbidden(address, allow_private=allow_private)
    if not why:
        return ""
    opened = "" if allow_private or why not in ("loopback", "private") else "; PRODUCT_WEBHOOK_PRIVATE=true allows it"
    return f"leads to an address that is refused ({why}){opened}"


def _literal(host: str) -> list[Address]:
    """The address a host is written as, in any of the ways C takes (0x7f.1, 2130706433); none if it is a name."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except OSError:
        return []
    return [ipaddress.ip_address(str(each[4][0]).partition("%")[0]) for each in found]


class JudgingResolver(AbstractResolver):
    """Looks a name up with `within`, and refuses it if any of its addresses is one we do not connect to."""

    def __init__(self, within: AbstractResolver, *, allow_private: bool) -> None:
        self._within = within
        self._allow_private = allow_private

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses that will be connected to."""
        found = await self._within.resolve(host, port, family)
        for each in found:
            address = ipaddress.ip_address(each["host"].partition("%")[0])
            why = forbidden(address, allow_private=self._allow_private)
            if why:
                raise _Forbidden(f"its name leads to an address that is refused ({why})")
        return found

    async def close(self) -> None:
        """Close the resolver within."""
        await self._within.close()


async def post(
    url: str,
    body: bytes,
    headers: dict[str, str],
    *,
    allow_private: bool = False,
    timeout_s: float = TIMEOUT_S,
    resolver: AbstractResolver | None = None,
) -> int:
    """Post a webhook and return the status of the answer, of which nothing else is read.

    Raises:
        Undelivered: refused, not reached, or not answered within `timeout_s` seconds.
    """
    # The connector takes an address that is written out without asking any resolver.
    refused = refusal(url, allow_private=allow_private)
    if refused:
        raise Undelivered(f"the URL {refused}")
    judge = JudgingResolver(resolver or aiohttp.ThreadedResolver(), allow_private=allow_private)
    connector = aiohttp.TCPConnector(resolver=judge, use_dns_cache=False, force_close=True)
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    try:
        async with (
            aiohttp.ClientSession(
                connector=connector, timeout=timeout, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
            ) as http,
            http.post(url, data=body, headers=headers, allow_redirects=False) as answer,
        ):
            return answer.status
    except aiohttp.ClientConnectorError as error:
        if isinstance(error.os_error, _Forbidden):
            raise Undelivered(str(error.os_error)) from error
        raise Undelivered(type(error).__name__) from error
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Undelivered(type(error).__name__) from error
    finally:
        await judge.close()


def signed_headers(secret: str, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Headers of the Standard Webhooks scheme (v1, HMAC-SHA256); `secret` may carry the `whsec_` prefix."""
    key = base64.b64decode(secret.removeprefix("whsec_")) if secret else b""
    content = b".".join((message_id.encode(), str(timestamp).encode(), body))
    signature = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    return {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{signature}",
    }
