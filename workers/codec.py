"""Encryption of what Temporal keeps: AES-256-GCM over every payload, with several keys at once so they can be changed.

An encrypted payload says in its metadata which key it wants; its data is a nonce of 96 random bits, then the whole
payload (its own metadata included) sealed together with the outer metadata, so that neither can be exchanged.
"""

import base64
import binascii
import os
import re
import secrets
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.converter import (
    DataConverter,
    DefaultFailureConverter,
    DefaultFailureConverterWithEncodedAttributes,
    PayloadCodec,
    PayloadConverter,
)

ENCODING: Final = b"binary/encrypted"
KEY_ID: Final = "encryption-key-id"
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
SOUND_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


class BadPayloadKeys(ValueError):
    """The keys cannot be read; the text says what is wrong with them, and never repeats one."""


class CannotDecrypt(ValueError):
    """A payload cannot be decrypted: its key is not here, or it was altered. Safe to show."""


@dataclass(frozen=True)
class PayloadKey:
    """A key of 32 bytes and the id by which payloads ask for it."""

    id: str
    secret: bytes = field(repr=False)

    def __str__(self) -> str:
        """As the settings take it: `id:base64key`. This is the secret itself."""
        return f"{self.id}:{base64.b64encode(self.secret).decode()}"


def read_keys(text: str, where: str) -> tuple[PayloadKey, ...]:
    """The keys in `id:base64key,id2:base64key`, newest first; lines do as well as commas. `where` names the setting.

    Raises:
        BadPayloadKeys: an entry is malformed, an id is there twice, or there is text but no key.
    """
    entries = [entry for line in text.splitlines() for each in line.split(",") if (entry := each.strip())]
    keys: dict[str, PayloadKey] = {}
    for number, entry in enumerate(entries, 1):
        key_id, colon, encoded = entry.partition(":")
        if not colon:
            raise BadPayloadKeys(f"{where}: entry {number} is not id:base64key, as `holdfast keys new` prints it")
        if not SOUND_ID.fullmatch(key_id):
            raise BadPayloadKeys(f"{where}: the id of entry {number} must be 1 to 64 letters, digits, dots, - or _")
        if key_id in keys:
            raise BadPayloadKeys(f"{where}: the id {key_id} is there twice")
        keys[key_id] = PayloadKey(key_id, _secret(encoded, key_id, where))
    if text and not keys:
        raise BadPayloadKeys(f"{where} holds no key: make one with `holdfast keys new`")
    return tuple(keys.values())


def _secret(encoded: str, key_id: str, where: str) -> bytes:
    try:
        secret = base64.b64decode(encoded.strip().translate({ord("-"): "+", ord("_"): "/"}), validate=True)
    except (binascii.Error, ValueError):
        raise BadPayloadKeys(f"{where}: the key {key_id} is not base64") from None
    if len(secret) != KEY_BYTES:
        raise BadPayloadKeys(f"{where}: the key {key_id} has {len(secret)} bytes; AES-256 needs {KEY_BYTES}")
    return secret


def new_key() -> PayloadKey:
    """A fresh key; its id says the day (UTC) it was made."""
    made = f"{datetime.now(UTC):%Y%m%d}-{secrets.token_hex(2)}"
    return PayloadKey(made, secrets.token_bytes(KEY_BYTES))


class EncryptingCodec(PayloadCodec):
    """Encrypts with the first key, decrypts with whichever a payload names, lets unencrypted payloads through."""

    def __init__(self, keys: Sequence[PayloadKey]) -> None:
        self._newest = keys[0].id
        self._ciphers = {key.id: AESGCM(key.secret) for key in keys}

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Encrypt each payload, under a nonce of its own."""
        return [self._encrypt(payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Decrypt what is encrypted; the rest comes back as it is, so that runs from before still read.

        Raises:
            CannotDecrypt: the key is not among ours, or the payload was altered.
        """
        return [self._decrypt(payload) for payload in payloads]

    def _encrypt(self, payload: Payload) -> Payload:
        metadata = {"encoding": ENCODING, KEY_ID: self._newest.encode()}
        nonce = os.urandom(NONCE_BYTES)
        sealed = self._ciphers[self._newest].encrypt(nonce, payload.SerializeToString(), _bound(metadata))
        return Payload(metadata=metadata, data=nonce + sealed)

    def _decrypt(self, payload: Payload) -> Payload:
        metadata = dict(payload.metadata)
        if metadata.get("encoding") != ENCODING:
            return payload
        key_id = metadata.get(KEY_ID, b"").decode("ascii", "replace")
        if not key_id:
            raise CannotDecrypt(f"the payload is encrypted, but its metadata has no {KEY_ID}: not our encryption")
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise CannotDecrypt(
                f"the payload is encrypted with the key {key_id[:64]!r}, which is not among HOLDFAST_PAYLOAD_KEYS "
                f"({', '.join(self._ciphers)}): put it back, behind the newest"
            )
        if len(payload.data) < NONCE_BYTES + TAG_BYTES:
            raise CannotDecrypt("the payload is encrypted, but cut short")
        nonce, sealed = payload.data[:NONCE_BYTES], payload.data[NONCE_BYTES:]
        try:
            plain = cipher.decrypt(nonce, sealed, _bound(metadata))
        except InvalidTag:
            raise CannotDecrypt(
                f"the payload does not open with the key {key_id!r}: it was altered, or encrypted with another key "
                "of that id"
            ) from None
        return Payload.FromString(plain)


def _bound(metadata: dict[str, bytes]) -> bytes:
    """The metadata as bytes that only this metadata gives."""
    parts = [part for name in sorted(metadata) for part in (name.encode(), metadata[name])]
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)


class SealedFailures(DefaultFailureConverterWithEncodedAttributes):
    """Puts messages and stack traces where the codec encrypts them, but for refusals, which are told and not kept."""

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        """Convert an exception. One that says `told_in_clear` keeps its message, and loses its stack trace."""
        if not getattr(exception, "told_in_clear", False):
            super().to_failure(exception, payload_converter, failure)
            return
        DefaultFailureConverter().to_failure(exception, payload_converter, failure)
        failure.stack_trace = ""


def encrypting(plain: DataConverter, keys: Sequence[PayloadKey]) -> DataConverter:
    """`plain` with encryption, failures' messages and stack traces included; without keys `plain` itself."""
    if not keys:
        return plain
    return replace(
        plain,
        payload_codec=EncryptingCodec(keys),
        failure_converter_class=SealedFailures,
    )
