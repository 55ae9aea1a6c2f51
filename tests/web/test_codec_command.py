"""`holdfast codec`: what stands against its start, and that it serves."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import aiohttp
import pytest

from models.database import Database
from tests.town import fresh_database
from tests.web.codec_wire import JSON, KEY, PLAIN, ROOT, SECRET, Codec, sealed
from tests.workers.test_cli import holdfast
from workers.codec_server import codec_problems
from workers.settings import Settings


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
