"""A codec server on a real socket, and what one asks it."""

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import uvicorn
from fastapi import FastAPI
from sqlmodel import select
from temporalio.api.common.v1 import Payload

from models.database import Database
from models.tables import CodecRead
from web.codec import Access, create_codec_app
from workers.codec import EncryptingCodec, PayloadKey

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
