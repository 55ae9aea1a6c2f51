"""The codec server over the wire: the protocol, who may read, which pages may ask, the row that each read leaves."""

import asyncio
import base64
import io
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
import uvicorn
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from fastapi import FastAPI
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from sqlmodel import select
from temporalio.api.common.v1 import Payload

from models.database import Database
from models.tables import CodecRead
from tests.town import fresh_database
from tests.workers.test_cli import holdfast
from web.codec import LARGEST_BODY, Access, create_codec_app
from web.oidc import Issuer
from workers.codec import EncryptingCodec, PayloadKey
from workers.codec_server import codec_problems
from workers.settings import Settings

ROOT = Path(__file__).parent.parent.parent
KEY = PayloadKey("k1", b"k" * 32)
SECRET = "a-secret-of-the-codec-server"
ORIGIN = "https://temporal.example.com"
UI = {"Content-Type": "application/json", "X-Namespace": "default", "Origin": ORIGIN}
PLAIN = {"metadata": {"encoding": "anNvbi9wbGFpbg=="}, "data": "InZlcnkgc2VjcmV0Ig=="}
JSON = {"Content-Type": "application/json"}


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[str]:
    """An application on a free port of this machine."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", access_log=False, lifespan="off"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.002)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving


@dataclass
class Codec:
    """A codec server that runs, and a client."""

    url: str
    database: Database
    http: aiohttp.ClientSession

    async def ask(
        self, what: str, body: Any, headers: dict[str, str], method: str = "POST"
    ) -> tuple[int, Any, dict[str, str]]:
        """Status, body (as JSON, else text) and the headers in lower case."""
        data = io.BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode())
        async with self.http.request(method, f"{self.url}{what}", data=data, headers=headers) as answer:
            text = await answer.text()
            told = json.loads(text) if answer.content_type == "application/json" else text
            return answer.status, told, {name.lower(): value for name, value in answer.headers.items()}

    async def refusal(self, headers: dict[str, str], body: Any = None, what: str = "/codec/decode") -> tuple[int, str]:
        """Status and sentence of a request that is refused."""
        status, told, _ = await self.ask(what, {"payloads": [PLAIN]} if body is None else body, headers)
        return status, told["error"]

    async def reads(self) -> list[tuple[str, str, str, int]]:
        """Who read, of which namespace and run, how many payloads."""
        async with self.database.reading() as session:
            rows = (await session.exec(select(CodecRead))).all()
        return [(row.who, row.namespace, row.workflow_id, row.payloads) for row in rows]


@asynccontextmanager
async def codec_server(database: Database, access: Access) -> AsyncIterator[Codec]:
    """A codec server that knows one key."""
    app = create_codec_app(database, EncryptingCodec([KEY]), access)
    async with served(app) as url, aiohttp.ClientSession() as http:
        yield Codec(url, database, http)


@pytest.fixture
async def codec(database: Database) -> AsyncIterator[Codec]:
    """One with a secret, for one Web UI."""
    async with codec_server(database, Access(secret=SECRET, origins=(ORIGIN,))) as running:
        yield running


async def sealed(count: int = 1) -> list[dict[str, Any]]:
    """Encrypted payloads as the Web UI sends them."""
    payload = Payload(metadata={"encoding": b"json/plain"}, data=b'"very secret"')
    return [
        {
            "metadata": {name: base64.b64encode(value).decode() for name, value in each.metadata.items()},
            "data": base64.b64encode(each.data).decode(),
        }
        for each in await EncryptingCodec([KEY]).encode([payload] * count)
    ]


BEARER = {"Authorization": f"Bearer {SECRET}"}


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


# An OpenID Connect issuer.


@dataclass
class Idp:
    """An issuer that really answers, with a key of each kind; `looks` counts how often its keys were read."""

    url: str = ""
    looks: int = 0
    down: bool = False
    rsa_key: Any = None
    ec_key: Any = None

    def token(self, key: Any = None, algorithm: str = "RS256", key_id: str = "rsa", **changed: Any) -> str:
        """A good token, except for what is changed; a claim that is None is left out."""
        now = int(time.time())
        claims = {"iss": self.url, "aud": "codec", "sub": "u1", "email": "ana@example.com", "exp": now + 300, **changed}
        said = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(said, key or self.rsa_key, algorithm=algorithm, headers={"kid": key_id})

    def app(self) -> FastAPI:
        """Its two documents."""
        app = FastAPI()

        @app.get("/.well-known/openid-configuration")
        async def about() -> dict[str, str]:
            if self.down:
                raise RuntimeError("down")
            return {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}

        @app.get("/keys")
        async def keys() -> dict[str, Any]:
            self.looks += 1
            rsa_jwk = RSAAlgorithm.to_jwk(self.rsa_key.public_key(), as_dict=True)
            ec_jwk = ECAlgorithm.to_jwk(self.ec_key.public_key(), as_dict=True)
            return {"keys": [rsa_jwk | {"kid": "rsa"}, ec_jwk | {"kid": "ec", "use": "sig"}, {"kty": "oct", "k": "AA"}]}

        return app


@pytest.fixture(scope="module")
async def idp() -> AsyncIterator[Idp]:
    """An issuer."""
    running = Idp(
        rsa_key=rsa.generate_private_key(public_exponent=65537, key_size=2048),
        ec_key=ec.generate_private_key(ec.SECP256R1()),
    )
    async with served(running.app()) as url:
        running.url = url
        yield running


@pytest.fixture
async def guarded(database: Database, idp: Idp) -> AsyncIterator[Codec]:
    """A codec server that trusts the issuer."""
    async with codec_server(database, Access(issuer=Issuer(idp.url, "codec"), origins=(ORIGIN,))) as running:
        yield running


def bearing(token: str) -> dict[str, str]:
    return UI | {"Authorization": f"Bearer {token}"}


async def test_a_good_token_opens_and_names_who_reads(guarded: Codec, idp: Idp) -> None:
    before = idp.looks
    for token in (
        idp.token(),
        idp.token(idp.ec_key, "ES256", "ec", email=None, preferred_username="ana"),
        idp.token(email=None, aud=["other", "codec"]),
    ):
        told = await guarded.ask("/codec/decode", {"payloads": await sealed()}, bearing(token))
        assert told[:2] == (200, {"payloads": [PLAIN]})
    assert [read[0] for read in await guarded.reads()] == ["ana@example.com", "ana", "u1"]
    assert idp.looks == before + 1, "the issuer's keys are kept"


async def test_a_token_that_is_not_good_is_refused_with_its_reason(guarded: Codec, idp: Idp) -> None:
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    unsigned = jwt.encode({"iss": idp.url, "aud": "codec", "sub": "u1"}, "", algorithm="none", headers={"kid": "rsa"})
    for token, sentence in (
        (idp.token(exp=int(time.time()) - 60), "the token has expired"),
        (idp.token(exp=None), "the token says no exp"),
        (idp.token(sub=None), "the token says no sub"),
        (idp.token(iss="https://evil.example"), "the token is of another issuer"),
        (idp.token(aud="another"), "the token is made for another audience"),
        (idp.token(aud=None), "the token says no aud"),
        (idp.token(nbf=int(time.time()) + 600), "the token is not one that the issuer signed"),
        (idp.token(stranger), "the token is not one that the issuer signed"),
        (idp.token(stranger, key_id="gone"), "the token is not one that the issuer signed"),
        (idp.token(idp.ec_key, "ES256", "rsa"), "the token is not one that the issuer signed"),
        (idp.token("h" * 64, "HS256"), "the token is not signed with RS256 or ES256"),
        (unsigned, "the token is not signed with RS256 or ES256"),
        ("nonsense", "the token is not one that the issuer signed"),
        (SECRET, "the token is not one that the issuer signed"),
    ):
        assert await guarded.refusal(bearing(token)) == (401, sentence)
    assert await guarded.reads() == []


async def test_tokens_with_unknown_keys_do_not_make_us_bother_the_issuer(guarded: Codec, idp: Idp) -> None:
    before = idp.looks
    for number in range(5):
        await guarded.refusal(bearing(idp.token(key_id=f"made up {number}")))
    assert idp.looks == before + 1


async def test_an_issuer_that_does_not_answer_is_not_the_readers_fault(database: Database, idp: Idp) -> None:
    for issuer in ("http://127.0.0.1:9", f"{idp.url}/elsewhere", idp.url.replace("127.0.0.1", "localhost")):
        async with codec_server(database, Access(secret=SECRET, issuer=Issuer(issuer, "codec"))) as away:
            refused = (503, "the issuer of tokens does not answer; try again")
            assert await away.refusal(JSON | {"Authorization": f"Bearer {idp.token()}"}) == refused
            assert (await away.ask("/codec/decode", {"payloads": []}, JSON | BEARER))[0] == 200, (
                "the secret still opens"
            )


# The command.


@pytest.mark.parametrize(
    ("changed", "problems"),
    [
        ({}, []),
        ({"holdfast_codec_host": "::1"}, []),
        ({"holdfast_codec_host": "0.0.0.0", "holdfast_codec_secret": SECRET}, []),  # noqa: S104
        (
            {
                "holdfast_codec_host": "10.0.0.1",
                "holdfast_codec_oidc_issuer": "https://id.example.com",
                "holdfast_codec_oidc_audience": "codec",
            },
            [],
        ),
        (
            {"holdfast_payload_keys": ""},
            ["HOLDFAST_PAYLOAD_KEYS is not set, so nothing is encrypted: see `holdfast keys new`"],
        ),
        (
            {"holdfast_payload_keys": "oops"},
            ["HOLDFAST_PAYLOAD_KEYS: entry 1 is not id:base64key, as `holdfast keys new` prints it"],
        ),
        (
            {"holdfast_codec_host": "0.0.0.0"},  # noqa: S104
            [
                "HOLDFAST_CODEC_HOST is 0.0.0.0, where others can reach it: set HOLDFAST_CODEC_SECRET or "
                "HOLDFAST_CODEC_OIDC_ISSUER, or bind to 127.0.0.1"
            ],
        ),
        (
            {"holdfast_codec_secret": "short"},
            ["HOLDFAST_CODEC_SECRET must be 16 characters or more: make one with `openssl rand -hex 32`"],
        ),
        (
            {"holdfast_codec_oidc_issuer": "https://id.example.com"},
            ["HOLDFAST_CODEC_OIDC_ISSUER and HOLDFAST_CODEC_OIDC_AUDIENCE are only good together: set both"],
        ),
        (
            {"holdfast_codec_oidc_issuer": "http://id.example.com", "holdfast_codec_oidc_audience": "codec"},
            ["HOLDFAST_CODEC_OIDC_ISSUER must start with https://"],
        ),
        (
            {"holdfast_codec_origins": "https://ui.example.com, https://ui.example.com/path,*"},
            [
                f"HOLDFAST_CODEC_ORIGINS: {bad} is not an origin: write https://host or https://host:port, "
                "without a path"
                for bad in ("https://ui.example.com/path", "*")
            ],
        ),
    ],
)
def test_each_problem_is_a_sentence(changed: dict[str, str], problems: list[str]) -> None:
    assert codec_problems(Settings(_env_file=None, **{"holdfast_payload_keys": str(KEY), **changed})) == problems  # type: ignore[arg-type]


async def test_the_command_refuses_to_stand_open(tmp_path: Path) -> None:
    code, out, err = await holdfast(
        tmp_path,
        "codec",
        HOLDFAST_PAYLOAD_KEYS=str(KEY),
        HOLDFAST_CODEC_HOST="0.0.0.0",  # noqa: S104
    )
    assert (code, out) == (2, "")
    assert err.startswith("holdfast: HOLDFAST_CODEC_HOST is 0.0.0.0, where others can reach it: ")
    assert len(err.splitlines()) == 1


async def test_the_command_serves_until_it_is_told_to_stop(migrated: Path, tmp_path: Path) -> None:
    """With the keys in a file, as a container has them."""
    (tmp_path / "keys").write_text(f"{KEY}\n")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "workers",
        "codec",
        cwd=tmp_path,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "DATABASE_URL": fresh_database(migrated, tmp_path),
            "HOLDFAST_PAYLOAD_KEYS_FILE": str(tmp_path / "keys"),
            "HOLDFAST_CODEC_PORT": "0",
        },
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr
    ready = json.loads(await process.stderr.readline())
    assert ready["event"] == "codec.ready"
    async with aiohttp.ClientSession() as http:
        codec = Codec(f"http://127.0.0.1:{ready['port']}", Database(f"sqlite:///{tmp_path / 'holdfast.db'}"), http)
        told = await codec.ask(
            "/codec/decode", {"payloads": await sealed()}, JSON | {"Origin": "http://localhost:8233"}
        )
        assert told[:2] == (200, {"payloads": [PLAIN]})
        assert await codec.reads() == [("anybody on this machine", "", "", 1)]
        await codec.database.close()
    process.send_signal(signal.SIGTERM)
    assert (await asyncio.wait_for(process.wait(), 10), await process.stderr.read()) == (0, b"")
