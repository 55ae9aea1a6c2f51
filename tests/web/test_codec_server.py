"""The codec server over the wire: the protocol, who may read, which pages may ask, the row that each read leaves."""

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest

from models.database import Database
from tests.web.codec_wire import BEARER, JSON, ORIGIN, PLAIN, SECRET, UI, Codec, codec_server, sealed
from web.codec import LARGEST_BODY, Access


@pytest.fixture
async def codec(database: Database) -> AsyncIterator[Codec]:
    """One with a secret, for one Web UI."""
    async with codec_server(database, Access(secret=SECRET, origins=(ORIGIN,))) as running:
        yield running


async def test_the_protocol_both_ways_and_a_row_for_the_read(codec: Codec) -> None:
    status, told, headers = await codec.ask(
        "/codec/encode?preserveStorageRefs=true", {"payloads": [PLAIN]}, UI | BEARER
    )
    assert status == 200
    (encrypted,) = told["payloads"]
    assert encrypted["metadata"] == {
        "encoding": base64.b64encode(b"binary/encrypted").decode(),
        "encryption-key-id": base64.b64encode(b"k1").decode(),
    }
    assert await codec.reads() == [], "encrypting reads nothing"
    asked = {"payloads": [encrypted, PLAIN, *await sealed()]}
    status, told, headers = await codec.ask("/codec/decode?preserveStorageRefs=true", asked, UI | BEARER)
    assert (status, told) == (200, {"payloads": [PLAIN, PLAIN, PLAIN]})
    assert headers["cache-control"] == "no-store"
    assert await codec.reads() == [("the shared secret", "default", "", 3)]


async def test_the_row_names_the_run_if_the_reader_does(codec: Codec) -> None:
    more = {"X-Workflow-Id": "payment-failure/in_1"}
    assert (await codec.ask("/codec/decode", {"payloads": await sealed(2)}, UI | BEARER | more))[0] == 200
    assert (await codec.ask("/codec/decode", {"payloads": []}, JSON | BEARER))[:2] == (200, {"payloads": []})
    assert await codec.reads() == [
        ("the shared secret", "default", "payment-failure/in_1", 2),
        ("the shared secret", "", "", 0),
    ]


async def test_what_cannot_be_decrypted_is_a_sentence_and_the_try_is_on_record(codec: Codec) -> None:
    (payload,) = await sealed()
    lost = payload | {"metadata": payload["metadata"] | {"encryption-key-id": base64.b64encode(b"k0").decode()}}
    altered = payload | {"data": base64.b64encode(b"x" * 60).decode()}
    assert await codec.refusal(UI | BEARER, {"payloads": [lost]}) == (
        400,
        "the payload is encrypted with the key 'k0', which is not among HOLDFAST_PAYLOAD_KEYS (k1): put it back, "
        "behind the newest",
    )
    assert await codec.refusal(UI | BEARER, {"payloads": [altered]}) == (
        400,
        "the payload does not open with the key 'k1': it was altered, or encrypted with another key of that id",
    )
    assert len(await codec.reads()) == 2


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ({}, (401, "send one Authorization header with a bearer token")),
        ({"Authorization": "Bearer "}, (401, "send one Authorization header with a bearer token")),
        ({"Authorization": f"Basic {SECRET}"}, (401, "send one Authorization header with a bearer token")),
        ({"Authorization": f"Bearer {SECRET}x"}, (401, "the bearer token is not the secret")),
        ({"Authorization": "Bearer ü"}, (401, "the bearer token is not the secret")),
        (BEARER | {"Origin": "https://evil.example"}, (403, "this page's origin is not among HOLDFAST_CODEC_ORIGINS")),
        (
            BEARER | {"Origin": ORIGIN + ".evil.example"},
            (403, "this page's origin is not among HOLDFAST_CODEC_ORIGINS"),
        ),
        (BEARER | {"Origin": "null"}, (403, "this page's origin is not among HOLDFAST_CODEC_ORIGINS")),
    ],
)
@pytest.mark.parametrize("what", ["/codec/decode", "/codec/encode"])
async def test_who_may_not_read_is_refused(
    codec: Codec, headers: dict[str, str], refused: tuple[int, str], what: str
) -> None:
    assert await codec.refusal(JSON | headers, what=what) == refused
    status, _, told = await codec.ask(what, {"payloads": [PLAIN]}, JSON | headers)
    assert told.get("www-authenticate") == ("Bearer" if status == 401 else None)
    assert "access-control-allow-origin" not in told
    assert await codec.reads() == []


@pytest.mark.parametrize(
    ("body", "headers", "refused"),
    [
        (b"{", JSON, (400, "the body is not valid JSON: unexpected end of data")),
        (b"[]", JSON, (400, "the body must be a JSON object")),
        ({}, JSON, (400, "the body has no list named payloads")),
        ({"payloads": {}}, JSON, (400, "the body has no list named payloads")),
        ({"payloads": [7]}, JSON, (400, "the payloads are not Temporal's, as JSON: metadata and data are base64")),
        (
            {"payloads": [{"data": "a"}]},
            JSON,
            (400, "the payloads are not Temporal's, as JSON: metadata and data are base64"),
        ),
        ({"payloads": []}, {"Content-Type": "text/plain"}, (415, "send application/json")),
        (
            {"payloads": []},
            JSON | {"X-Namespace": "n" * 256},
            (400, "the x-namespace header is longer than 255 characters"),
        ),
        (b" " * (LARGEST_BODY + 1), JSON, (413, f"the body is larger than {LARGEST_BODY} bytes")),
    ],
)
async def test_what_is_no_request_is_refused(
    codec: Codec, body: Any, headers: dict[str, str], refused: tuple[int, str]
) -> None:
    assert await codec.refusal(headers | BEARER, body) == refused
    assert await codec.reads() == []


async def test_a_body_without_a_length_is_cut_off_too(codec: Codec) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(LARGEST_BODY // 65536 + 2):
            yield b" " * 65536

    async with codec.http.post(f"{codec.url}/codec/decode", data=endless(), headers=JSON | BEARER) as answer:
        assert (answer.status, await answer.json()) == (413, {"error": f"the body is larger than {LARGEST_BODY} bytes"})


async def test_nothing_is_told_that_cannot_be_written_down(codec: Codec) -> None:
    async with codec.database.writing() as session:
        await (await session.connection()).exec_driver_sql("DROP TABLE codec_reads")
    refused = (503, "the read could not be written down, so it is not answered")
    assert await codec.refusal(UI | BEARER, {"payloads": await sealed()}) == refused


# Pages of other origins.


def asked_by_a_browser(origin: str, headers: str = "authorization,content-type,x-namespace") -> dict[str, str]:
    """The question a browser asks before it lets a page ask ours."""
    return {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": headers,
    }


async def test_a_page_on_the_list_may_ask(codec: Codec) -> None:
    status, _, headers = await codec.ask("/codec/decode", b"", asked_by_a_browser(ORIGIN), "OPTIONS")
    granted = {name: value for name, value in headers.items() if name.startswith(("access-control", "vary"))}
    assert status == 200
    assert granted == {
        "access-control-allow-origin": ORIGIN,
        "access-control-allow-methods": "POST",
        "access-control-allow-headers": "Accept, Accept-Language, Authorization, Authorization-Extras, "
        "Content-Language, Content-Type, X-Namespace, X-Workflow-Id",
        "access-control-max-age": "600",
        "vary": "Origin, Access-Control-Request-Method, Access-Control-Request-Headers, "
        "Access-Control-Request-Private-Network",
    }
    for token, wanted in ((SECRET, 200), ("wrong", 401)):
        _, _, headers = await codec.ask("/codec/decode", {"payloads": []}, UI | {"Authorization": f"Bearer {token}"})
        assert headers["access-control-allow-origin"] == ORIGIN, f"the page reads the {wanted} too"
        assert headers["vary"] == "Origin"
        assert "access-control-allow-credentials" not in headers


@pytest.mark.parametrize(
    ("origin", "headers", "sentence"),
    [
        ("https://evil.example", "content-type", "Disallowed CORS origin"),
        ("http://temporal.example.com", "content-type", "Disallowed CORS origin"),
        ("null", "content-type", "Disallowed CORS origin"),
        (ORIGIN, "x-anything", "Disallowed CORS headers"),
    ],
)
async def test_a_page_not_on_the_list_is_refused_beforehand(
    codec: Codec, origin: str, headers: str, sentence: str
) -> None:
    status, told, answered = await codec.ask("/codec/decode", b"", asked_by_a_browser(origin, headers), "OPTIONS")
    assert (status, told) == (400, sentence)
    assert ("access-control-allow-origin" in answered) == (origin == ORIGIN)


# On this machine, without a secret.


async def test_without_a_secret_this_machine_may_read_by_its_own_name_only(database: Database) -> None:
    async with codec_server(database, Access(origins=("http://localhost:8233",))) as open_one:
        told = await open_one.ask("/codec/decode", {"payloads": await sealed()}, JSON)
        assert told[:2] == (200, {"payloads": [PLAIN]})
        for name in ("localhost:1", "[::1]:1"):
            assert (await open_one.ask("/codec/decode", {"payloads": []}, JSON | {"Host": name}))[0] == 200
        refused = (403, "without a secret only this machine's own names are answered")
        assert await open_one.refusal(JSON | {"Host": "rebound.evil.example"}) == refused
        assert (await open_one.ask("/healthz", b"", {}, "GET"))[:2] == (200, {"ok": True})
        assert [read[0] for read in await open_one.reads()] == ["anybody on this machine"] * 3
