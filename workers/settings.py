"""Settings from the environment or .env; each problem is one sentence that says what to do.

Every command reads them, so what only the checks need is imported by the checks.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from models.database_url import DEFAULT_URL, BadDatabaseUrl, async_url, with_password
from web.standard_webhooks import BadSecret, key_of
from workers.codec import BadPayloadKeys, PayloadKey, read_keys
from workers.secret_files import SecretFiles
from workers.temporal_tls import tls_problems

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

    from web.rate_limits import RateLimits

STRIPE_KEY: Final = re.compile(r"(sk|rk)_(test|live)_\w{4,}")
WEBHOOK_SECRET: Final = re.compile(r"whsec_[\w+/=-]{4,}")
SHORTEST_KEY: Final = 24
"""Bytes; what the Standard Webhooks specification asks of a signing secret at least."""
SHORTEST_SECRET: Final = 16
SENDGRID_KEY: Final = re.compile(r"SG\.[\w.-]{4,}")


class Settings(BaseSettings):
    """What a running Holdfast needs to know. Secrets are never printed, and may stand in files (NAME_FILE)."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore")

    database_url: str = DEFAULT_URL
    database_password: SecretStr = Field(SecretStr(""), description="where DATABASE_URL has none")
    stripe_api_key: SecretStr = SecretStr("")
    stripe_api_base: str = ""
    stripe_webhook_secrets: SecretStr = Field(
        SecretStr(""), description="comma separated; several while a secret is rotated"
    )
    events_secrets: SecretStr = Field(SecretStr(""), description="comma separated; several while a secret is rotated")
    segment_secret: SecretStr = SecretStr("")
    api_tokens: SecretStr = Field(SecretStr(""), description="comma separated; several while a token is rotated")
    sendgrid_api_key: SecretStr = SecretStr("")
    sendgrid_api_base: str = ""
    attio_api_key: SecretStr = SecretStr("")
    attio_api_base: str = ""
    hubspot_access_token: SecretStr = SecretStr("")
    hubspot_api_base: str = ""
    sendgrid_webhook_public_key: str = Field("", description="comma separated; several while a key is rotated")
    product_webhook_url: str = ""
    product_webhook_secret: SecretStr = SecretStr("")
    product_webhook_private: bool | None = Field(
        None, description="whether the product may be at a private or loopback address; unset: only in test mode"
    )
    public_url: str = "http://127.0.0.1:8080"
    link_secret: SecretStr = SecretStr("")
    holdfast_policy: Path | None = None
    holdfast_payload_keys: SecretStr = SecretStr("")
    holdfast_codec_host: str = "127.0.0.1"
    holdfast_codec_port: int = 8081
    holdfast_codec_secret: SecretStr = SecretStr("")
    holdfast_codec_oidc_issuer: str = ""
    holdfast_codec_oidc_audience: str = ""
    holdfast_codec_origins: str = "http://127.0.0.1:8233,http://localhost:8233"

    @field_validator(
        "holdfast_policy",
        "product_webhook_private",
        "temporal_tls",
        "temporal_tls_client_cert_path",
        "temporal_tls_client_key_path",
        "temporal_tls_server_ca_cert_path",
        mode="before",
    )
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value

    holdfast_staff_password: SecretStr = SecretStr("")
    holdfast_host: str = "127.0.0.1"
    holdfast_port: int = 8080
    holdfast_trusted_proxies: str = Field(
        "127.0.0.1", description="comma separated; theirs is X-Forwarded-For believed"
    )
    holdfast_webhooks_per_s: float = Field(500, ge=0, description="webhooks a second from one address; 0: no limit")
    holdfast_pages_per_s: float = Field(20, ge=0, description="page views a second from one address; 0: no limit")
    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(0, ge=0, le=65535, description="0: none; the receiver's own /metrics is for staff")
    temporal_address: str = ""
    temporal_namespace: str = "default"
    temporal_api_key: SecretStr = SecretStr("")
    temporal_tls: bool | None = Field(None, description="unset: on where there is an API key or a certificate")
    temporal_tls_client_cert_path: Path | None = None
    temporal_tls_client_key_path: Path | None = None
    temporal_tls_server_ca_cert_path: Path | None = None
    temporal_tls_server_name: str = ""
    holdfast_settle_s: float = Field(60, gt=0, description="seconds between looks at what is in doubt")
    holdfast_crm_s: float = Field(60, gt=0, description="seconds between looks at what a CRM outside has to be told")
    holdfast_sweep_s: float = Field(3600, gt=0, description="seconds between looks for webhooks that got lost")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first, then the files that secrets stand in, the environment, and .env."""
        environment = {**getattr(dotenv_settings, "env_vars", {}), **getattr(env_settings, "env_vars", {})}
        return init_settings, SecretFiles(settings_cls, environment), env_settings, dotenv_settings

    @property
    def dsn(self) -> str:
        """DATABASE_URL, with DATABASE_PASSWORD where there is one.

        Raises:
            BadDatabaseUrl: it is not a URL, or has a password of its own, or is SQLite's, which has none.
        """
        password = self.database_password.get_secret_value()
        return with_password(self.database_url, password) if password else self.database_url

    @property
    def webhook_secrets(self) -> tuple[str, ...]:
        """The signing secrets in use, newest first."""
        return _listed(self.stripe_webhook_secrets)

    @property
    def senders_secrets(self) -> tuple[str, ...]:
        """What our own systems sign events with; none: `POST /events` is off."""
        return _listed(self.events_secrets)

    @property
    def tokens(self) -> tuple[str, ...]:
        """The bearer tokens of `PUT /api/...`; none: it is off."""
        return _listed(self.api_tokens)

    @property
    def sendgrid_keys(self) -> "tuple[EllipticCurvePublicKey, ...]":
        """What SendGrid's events are signed with, as public keys; none: the endpoint is off.

        Raises:
            BadPublicKey: one of them cannot be read.
        """
        from web.sendgrid_signature import public_keys

        return public_keys(self.sendgrid_webhook_public_key)

    @property
    def payload_keys(self) -> tuple[PayloadKey, ...]:
        """The keys that payloads in Temporal are encrypted with, newest first; none means that they are not.

        Raises:
            BadPayloadKeys: they are malformed.
        """
        return read_keys(self.holdfast_payload_keys.get_secret_value(), "HOLDFAST_PAYLOAD_KEYS")

    @property
    def codec_origins(self) -> tuple[str, ...]:
        """The Web UIs that may ask the codec server."""
        return tuple(each.strip() for each in self.holdfast_codec_origins.split(",") if each.strip())

    @property
    def livemode(self) -> bool:
        """Whether the Stripe key moves real money; events of the other mode are refused."""
        return "_live_" in self.stripe_api_key.get_secret_value()

    @property
    def rate_limits(self) -> "RateLimits":
        """The limits for one address; after a quiet time it may take ten seconds' worth at once."""
        from web.rate_limits import Rate, RateLimits

        return RateLimits(
            webhooks=Rate(self.holdfast_webhooks_per_s, max(1, int(10 * self.holdfast_webhooks_per_s))),
            pages=Rate(self.holdfast_pages_per_s, max(1, int(10 * self.holdfast_pages_per_s))),
        )

    @property
    def product_may_be_private(self) -> bool:
        """Whether the product's webhook may go to a private or loopback address."""
        return not self.livemode if self.product_webhook_private is None else self.product_webhook_private

    def problems(self) -> list[str]:
        """What is missing or malformed for a start with real keys, each with what to do about it."""
        found = []
        key = self.stripe_api_key.get_secret_value()
        if not key:
            found.append("STRIPE_API_KEY is not set: put your Stripe secret or restricted key into .env")
        elif not STRIPE_KEY.fullmatch(key):
            found.append("STRIPE_API_KEY is malformed: it starts with sk_test_, sk_live_, rk_test_ or rk_live_")
        if not self.webhook_secrets:
            found.append("STRIPE_WEBHOOK_SECRETS is not set: copy the endpoint's signing secret (whsec_...) into .env")
        for secret in self.webhook_secrets:
            if not WEBHOOK_SECRET.fullmatch(secret):
                found.append("STRIPE_WEBHOOK_SECRETS is malformed: each secret starts with whsec_, commas between them")
                break
        found += self._problems_of_senders()
        mail_key = self.sendgrid_api_key.get_secret_value()
        if mail_key and not SENDGRID_KEY.fullmatch(mail_key):
            found.append(
                "SENDGRID_API_KEY is malformed: it starts with SG. (leave it empty to keep mails in the outbox)"
            )
        try:
            _ = self.sendgrid_keys
        except ValueError as error:
            found.append(f"SENDGRID_WEBHOOK_PUBLIC_KEY is malformed: {error}")
        if len(self.link_secret.get_secret_value()) < 16:
            found.append("LINK_SECRET must be 16 characters or more: make one with `openssl rand -hex 32`")
        staff = self.holdfast_staff_password.get_secret_value()
        if staff and len(staff) < SHORTEST_SECRET:
            found.append("HOLDFAST_STAFF_PASSWORD must be 16 characters or more: make one with `openssl rand -hex 16`")
        if not self.public_url.startswith(("http://", "https://")):
            found.append("PUBLIC_URL must start with https://: customers follow links to it")
        if self.product_webhook_url and not self.product_webhook_secret.get_secret_value():
            found.append("PRODUCT_WEBHOOK_SECRET is not set, but PRODUCT_WEBHOOK_URL is: the webhook must be signed")
        if self.product_webhook_url:
            from activities.outgoing_webhooks import refusal

            refused = refusal(self.product_webhook_url, allow_private=self.product_may_be_private)
            if refused:
                found.append(f"PRODUCT_WEBHOOK_URL {refused}")
        found += self._problems_of_the_crm()
        try:
            async_url(self.dsn)
        except BadDatabaseUrl as error:
            found.append(str(error))
        try:
            _ = self.payload_keys
        except BadPayloadKeys as error:
            found.append(str(error))
        return found + tls_problems(self)

    def _problems_of_the_crm(self) -> list[str]:
        """Whether there is a key for the CRM that the policy file names."""
        from models.policy import PolicyError, PolicyFile
        from workers.crm_clients import lacks_a_key

        try:
            problem = lacks_a_key(self, PolicyFile.read(self.holdfast_policy).crm)
        except PolicyError:
            return []  # said by whoever reads the policy
        return [problem] if problem else []

    def _problems_of_senders(self) -> list[str]:
        """Each secret opens a door of its own, and none of them has to be open."""
        found = []
        if any(len(_key_or_none(each)) < SHORTEST_KEY for each in self.senders_secrets):
            found.append(
                "EVENTS_SECRETS is malformed: each secret is whsec_ and base64 of 24 bytes or more, commas between; "
                "make one with `echo whsec_$(openssl rand -base64 32)`"
            )
        segment = self.segment_secret.get_secret_value()
        if segment and len(segment) < SHORTEST_SECRET:
            found.append("SEGMENT_SECRET must be 16 characters or more: make one with `openssl rand -hex 32`")
        if any(len(each) < SHORTEST_SECRET or not re.fullmatch(r"[!-~]+", each) for each in self.tokens):
            found.append(
                "API_TOKENS is malformed: each token is 16 characters or more, without spaces, commas between them; "
                "make one with `openssl rand -hex 32`"
            )
        return found


def _listed(secrets: SecretStr) -> tuple[str, ...]:
    """Commas or line breaks between: a file may hold one a line."""
    return tuple(each.strip() for each in re.split(r"[,\n]", secrets.get_secret_value()) if each.strip())


def _key_or_none(secret: str) -> bytes:
    try:
        return key_of(secret) if secret.startswith("whsec_") else b""
    except BadSecret:
        return b""
