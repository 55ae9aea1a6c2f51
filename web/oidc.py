"""Who somebody is, by a token of an OpenID Connect issuer: signature, expiry, issuer and audience are checked."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import jwt
import orjson

ALGORITHMS: Final = ["RS256", "ES256"]
KEPT_S: Final = 3600
"""How long the issuer's keys are kept."""
BETWEEN_LOOKS_S: Final = 30
"""A token with an unknown key makes us ask the issuer again, but not more often than this."""
LEEWAY_S: Final = 30
"""How far the issuer's clock and ours may differ."""
ANSWER_S: Final = 5


class BadToken(Exception):
    """The token is not accepted; the text says why and is safe to send back."""


class IssuerAway(Exception):
    """The issuer's keys cannot be read now; whether the token is good is not known."""


@dataclass(frozen=True)
class Issuer:
    """Whom we trust to say who somebody is, and the audience a token must be made for."""

    url: str
    audience: str


class Tokens:
    """Checks tokens of one issuer, with the issuer's keys kept for an hour."""

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer
        self._keys: dict[str, jwt.PyJWK] = {}
        self._kept_until = self._look_again_at = float("-inf")
        self._away = ""
        self._looking = asyncio.Lock()

    async def person(self, token: str) -> str:
        """The e-mail address, the user name or else the subject that a good token names.

        Raises:
            BadToken: it is malformed, expired, of another issuer or audience, or not signed by a key of the issuer.
            IssuerAway: the issuer does not answer.
        """
        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") not in ALGORITHMS:
                raise BadToken(f"the token is not signed with {' or '.join(ALGORITHMS)}")
            key = await self._key(str(header.get("kid", "")))
            claims = jwt.decode(
                token,
                key,
                algorithms=ALGORITHMS,
                issuer=self._issuer.url,
                audience=self._issuer.audience,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.ExpiredSignatureError:
            raise BadToken("the token has expired") from None
        except jwt.InvalidIssuerError:
            raise BadToken("the token is of another issuer") from None
        except jwt.InvalidAudienceError:
            raise BadToken("the token is made for another audience") from None
        except jwt.MissingRequiredClaimError as error:
            raise BadToken(f"the token says no {error.claim}") from None
        except jwt.PyJWTError:
            raise BadToken("the token is not one that the issuer signed") from None
        return str(claims.get("email") or claims.get("preferred_username") or claims["sub"])

    async def _key(self, key_id: str) -> jwt.PyJWK:
        async with self._looking:
            now = time.monotonic()
            if now >= self._kept_until:
                self._keys = {}
            if key_id not in self._keys and now >= self._look_again_at:
                self._look_again_at = now + BETWEEN_LOOKS_S
                try:
                    self._keys, self._kept_until, self._away = await self._look(), now + KEPT_S, ""
                except IssuerAway as error:
                    self._away = str(error)
        if key_id in self._keys:
            return self._keys[key_id]
        if self._away:
            raise IssuerAway(self._away)
        raise BadToken("the token is not one that the issuer signed")

    async def _look(self) -> dict[str, jwt.PyJWK]:
        base = self._issuer.url.rstrip("/")
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_S)) as session:
                about = await _json(session, f"{base}/.well-known/openid-configuration")
                if about.get("issuer") != self._issuer.url:
                    raise IssuerAway(f"{base} says that its name is {str(about.get('issuer'))[:200]!r}")
                keys = (await _json(session, str(about.get("jwks_uri"))))["keys"]
                return {str(key["kid"]): jwt.PyJWK(key) for key in keys if _signs(key)}
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, jwt.PyJWTError) as error:
            raise IssuerAway(f"the keys of {base} cannot be read: {type(error).__name__}") from None


def _signs(key: dict[str, Any]) -> bool:
    curve = key.get("kty") == "RSA" or (key.get("kty") == "EC" and key.get("crv") == "P-256")
    return curve and "kid" in key and key.get("use", "sig") == "sig" and key.get("alg") in (None, *ALGORITHMS)


async def _json(session: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    async with session.get(url, allow_redirects=False) as answer:
        answer.raise_for_status()
        read: dict[str, Any] = orjson.loads(await answer.read())
        return read
