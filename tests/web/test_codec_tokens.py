"""Who may read by a token: an OpenID Connect issuer that really answers."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from fastapi import FastAPI
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from models.database import Database
from tests.web.codec_wire import BEARER, JSON, ORIGIN, PLAIN, SECRET, UI, Codec, codec_server, sealed, served
from web.codec import Access
from web.oidc import Issuer


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
