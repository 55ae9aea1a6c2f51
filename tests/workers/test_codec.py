"""Encryption of payloads: the codec, its keys, their settings."""

import base64
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.contrib.pydantic import pydantic_data_converter

from tests.workers.test_cli import holdfast
from workers.codec import KEY_ID, BadPayloadKeys, CannotDecrypt, EncryptingCodec, PayloadKey, new_key, read_keys
from workers.connect import data_converter
from workers.secret_files import BadSecretFile
from workers.settings import Settings

OLD, NEW = PayloadKey("old", b"o" * 32), PayloadKey("new", b"n" * 32)
HELLO = Payload(metadata={"encoding": b"json/plain"}, data=b'"hello"')


def settings(**values: Any) -> Settings:
    """Settings of which only these are said."""
    return Settings(_env_file=None, **values)


def with_keys(*keys: PayloadKey) -> Settings:
    """Settings that name these keys."""
    return settings(holdfast_payload_keys=",".join(map(str, keys)))


# The codec.


async def test_what_is_encrypted_comes_back_and_looks_different_each_time() -> None:
    codec = EncryptingCodec([NEW])
    first, second = await codec.encode([HELLO, HELLO])
    assert first.data != second.data, "a nonce of its own for each"
    assert dict(first.metadata) == {"encoding": b"binary/encrypted", "encryption-key-id": b"new"}
    assert b"hello" not in first.SerializeToString() + second.SerializeToString()
    assert await codec.decode([first, second]) == [HELLO, HELLO]


async def test_the_newest_key_encrypts_and_every_key_decrypts() -> None:
    (before,) = await EncryptingCodec([OLD]).encode([HELLO])
    rotated = EncryptingCodec([NEW, OLD])
    (after,) = await rotated.encode([HELLO])
    assert after.metadata[KEY_ID] == b"new"
    assert await rotated.decode([before, after]) == [HELLO, HELLO]


async def test_what_is_not_encrypted_passes() -> None:
    plain = [HELLO, Payload(metadata={"encoding": b"binary/null"}), Payload()]
    assert await EncryptingCodec([NEW]).decode(plain) == plain


async def test_a_key_that_is_not_here_is_named() -> None:
    (lost,) = await EncryptingCodec([OLD]).encode([HELLO])
    with pytest.raises(CannotDecrypt) as refused:
        await EncryptingCodec([NEW]).decode([lost])
    assert str(refused.value) == (
        "the payload is encrypted with the key 'old', which is not among HOLDFAST_PAYLOAD_KEYS (new): "
        "put it back, behind the newest"
    )


async def test_every_changed_byte_and_every_changed_word_of_the_metadata_is_noticed() -> None:
    same_secret = PayloadKey("other", NEW.secret)
    codec = EncryptingCodec([NEW, same_secret])
    (sealed,) = await codec.encode([HELLO])
    altered = []
    for position in range(len(sealed.data)):
        changed = bytearray(sealed.data)
        changed[position] ^= 1
        altered.append(Payload(metadata=sealed.metadata, data=bytes(changed)))
    altered.append(Payload(metadata={**sealed.metadata, KEY_ID: b"other"}, data=sealed.data))
    altered.append(Payload(metadata={**sealed.metadata, "messageType": b"x"}, data=sealed.data))
    altered.append(Payload(metadata=sealed.metadata, data=sealed.data[:-1]))
    for each in altered:
        with pytest.raises(CannotDecrypt, match="does not open with the key .*: it was altered, or encrypted with"):
            await codec.decode([each])


@pytest.mark.parametrize(
    ("payload", "sentence"),
    [
        (Payload(metadata={"encoding": b"binary/encrypted"}, data=b"x" * 99), "its metadata has no encryption-key-id"),
        (Payload(metadata={"encoding": b"binary/encrypted", KEY_ID: b"new"}, data=b"x" * 27), "but cut short"),
        (Payload(metadata={"encoding": b"binary/encrypted", KEY_ID: b"\xff"}, data=b""), "the key '\ufffd', which is"),
    ],
)
async def test_what_is_no_encryption_of_ours_is_refused(payload: Payload, sentence: str) -> None:
    with pytest.raises(CannotDecrypt, match=sentence):
        await EncryptingCodec([NEW]).decode([payload])


def test_a_key_is_never_shown_by_accident() -> None:
    assert repr(NEW) == "PayloadKey(id='new')"
    assert str(NEW) == "new:" + base64.b64encode(b"n" * 32).decode()


# The settings.

GOOD = base64.b64encode(b"k" * 32).decode()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (GOOD, "entry 1 is not id:base64key, as `holdfast keys new` prints it"),
        (f"a:{GOOD},{GOOD}", "entry 2 is not id:base64key, as `holdfast keys new` prints it"),
        (f":{GOOD}", "the id of entry 1 must be 1 to 64 letters, digits, dots, - or _"),
        (f"a b:{GOOD}", "the id of entry 1 must be 1 to 64 letters, digits, dots, - or _"),
        (f"a:{GOOD},a:{GOOD}", "the id a is there twice"),
        ("a:not base64!", "the key a is not base64"),
        ("a:", "the key a has 0 bytes; AES-256 needs 32"),
        (f"a:{base64.b64encode(b'k' * 16).decode()}", "the key a has 16 bytes; AES-256 needs 32"),
    ],
)
def test_a_bad_key_is_refused_with_a_sentence_that_does_not_repeat_it(text: str, sentence: str) -> None:
    problems = settings(holdfast_payload_keys=text).problems()
    assert f"HOLDFAST_PAYLOAD_KEYS: {sentence}" in problems
    assert GOOD not in "".join(problems)


def test_text_without_a_key_does_not_switch_encryption_off() -> None:
    with pytest.raises(BadPayloadKeys) as refused:
        data_converter(settings(holdfast_payload_keys=" , "))
    assert str(refused.value) == "HOLDFAST_PAYLOAD_KEYS holds no key: make one with `holdfast keys new`"


def test_without_keys_the_converter_is_the_plain_one() -> None:
    assert data_converter(settings()) is pydantic_data_converter
    assert data_converter(settings(holdfast_payload_keys="")) is pydantic_data_converter


def test_keys_from_a_file_one_a_line(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"\n{NEW}\n{OLD}\n")
    assert settings(holdfast_payload_keys_file=path).payload_keys == (NEW, OLD)
    assert with_keys(NEW, OLD).payload_keys == (NEW, OLD)


def test_a_file_without_a_key_does_not_switch_encryption_off(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("a:AAAA")
    said = settings(holdfast_payload_keys_file=path)
    assert "HOLDFAST_PAYLOAD_KEYS: the key a has 3 bytes; AES-256 needs 32" in said.problems()
    path.write_text("\n")
    with pytest.raises(BadSecretFile, match="is empty"):
        settings(holdfast_payload_keys_file=path)


async def test_keys_new_prints_a_line_that_the_settings_take(tmp_path: Path) -> None:
    code, out, err = await holdfast(tmp_path, "keys", "new")
    assert (code, err, out.count("\n")) == (0, "", 1)
    (key,) = settings(holdfast_payload_keys=out.strip()).payload_keys
    assert len(key.secret) == 32
    assert read_keys(str(new_key()), "x") != read_keys(str(new_key()), "x")


async def test_a_command_with_a_bad_key_says_so(tmp_path: Path) -> None:
    code, out, err = await holdfast(tmp_path, "cases", "pause", "payment-failure/in_1", HOLDFAST_PAYLOAD_KEYS="oops")
    assert (code, out) == (1, "")
    sentence = "HOLDFAST_PAYLOAD_KEYS: entry 1 is not id:base64key, as `holdfast keys new` prints it"
    assert err == f"holdfast: {sentence}\n"
