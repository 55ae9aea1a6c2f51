"""What the settings mean for the codec server: who may read, and what stands against its start."""

from typing import Final
from urllib.parse import urlsplit

from web.codec import Access, is_loopback
from web.oidc import Issuer
from workers.codec import BadPayloadKeys
from workers.settings import Settings

SHORTEST_SECRET: Final = 16


def codec_access(settings: Settings) -> Access:
    """Who may read, as the settings say."""
    issuer = settings.holdfast_codec_oidc_issuer
    return Access(
        secret=settings.holdfast_codec_secret.get_secret_value(),
        issuer=Issuer(issuer, settings.holdfast_codec_oidc_audience) if issuer else None,
        origins=settings.codec_origins,
    )


def codec_problems(settings: Settings) -> list[str]:
    """What is missing or malformed for the codec server, each with what to do about it."""
    found = []
    try:
        if not settings.payload_keys:
            found.append("HOLDFAST_PAYLOAD_KEYS is not set, so nothing is encrypted: see `holdfast keys new`")
    except BadPayloadKeys as error:
        found.append(str(error))
    secret, host = settings.holdfast_codec_secret.get_secret_value(), settings.holdfast_codec_host
    issuer, audience = settings.holdfast_codec_oidc_issuer, settings.holdfast_codec_oidc_audience
    if secret and len(secret) < SHORTEST_SECRET:
        found.append("HOLDFAST_CODEC_SECRET must be 16 characters or more: make one with `openssl rand -hex 32`")
    if bool(issuer) != bool(audience):
        found.append("HOLDFAST_CODEC_OIDC_ISSUER and HOLDFAST_CODEC_OIDC_AUDIENCE are only good together: set both")
    if issuer and not _is_safe(issuer):
        found.append("HOLDFAST_CODEC_OIDC_ISSUER must start with https://")
    if not secret and not issuer and not is_loopback(host):
        found.append(
            f"HOLDFAST_CODEC_HOST is {host}, where others can reach it: set HOLDFAST_CODEC_SECRET or "
            "HOLDFAST_CODEC_OIDC_ISSUER, or bind to 127.0.0.1"
        )
    for origin in settings.codec_origins:
        if not _is_origin(origin):
            found.append(
                f"HOLDFAST_CODEC_ORIGINS: {origin} is not an origin: write https://host or https://host:port, "
                "without a path"
            )
    return found


def _is_safe(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))


def _is_origin(text: str) -> bool:
    parts = urlsplit(text)
    return parts.scheme in ("http", "https") and bool(parts.netloc) and text == f"{parts.scheme}://{parts.netloc}"
