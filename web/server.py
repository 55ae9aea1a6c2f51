"""The HTTP server as it is run: uvicorn, with the patience and the limits that it does not have by itself.

uvicorn waits for ever for a request's headers and body, and for a client that does not read its answer; its only
timeout is for idle connections after an answer. So a few hundred silent connections would hold its place for good.
"""

import asyncio
from dataclasses import dataclass
from typing import Any, Final

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

LARGEST_HEAD: Final = 32 * 1024
"""Bytes of request line and headers together; Stripe's are about 1 kB."""
TOO_SLOW: Final = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


@dataclass(frozen=True)
class Patience:
    """How long, in seconds, and for how many connections we wait."""

    request_s: float = 10
    """From the first byte (or the connection) to the last byte of the request."""
    answer_s: float = 60
    """From there until the client has taken its answer. Longer than the database may wait for a lock."""
    idle_s: int = 30
    """Between two requests on one connection."""
    most_waiting: int = 256
    """Connections without a whole request; beyond that the one that has waited longest is dropped."""
    most_connections: int = 800
    """All together; beyond that requests are answered 503. Below the usual limit of 1,024 open files."""


def server_config(
    app: ASGIApp, *, patience: Patience | None = None, trusted_proxies: str = "127.0.0.1", **more: Any
) -> uvicorn.Config:
    """What the web process runs with. From `trusted_proxies` (commas between) X-Forwarded-For is believed."""
    patience = patience or Patience()
    return uvicorn.Config(
        app,
        http=_impatient(patience),
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        h11_max_incomplete_event_size=LARGEST_HEAD,
        limit_concurrency=patience.most_connections,
        timeout_keep_alive=patience.idle_s,
        timeout_graceful_shutdown=5,
        forwarded_allow_ips=trusted_proxies,
        **more,
    )


def _impatient(patience: Patience) -> type[asyncio.Protocol]:
    """uvicorn's protocol over h11, with one deadline that is always set, for whatever is waited for."""
    # In the order in which they began to wait.
    waiting: dict[H11Protocol, None] = {}

    class ImpatientProtocol(H11Protocol):
        _deadline: asyncio.TimerHandle | None = None
        _phase = ""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._wait_for("request", patience.request_s)
            if len(waiting) > patience.most_waiting:
                next(iter(waiting)).transport.abort()

        def connection_lost(self, exc: Exception | None) -> None:
            if self._deadline:
                self._deadline.cancel()
            waiting.pop(self, None)
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self._phase == "idle":
                self._wait_for("request", patience.request_s)
            super().data_received(data)
            if self._phase == "request" and self._whole_request_is_here():
                self._wait_for("answer", patience.answer_s)

        def on_response_complete(self) -> None:
            super().on_response_complete()
            # Where the answer came before the whole request had, the request's deadline stands.
            if self._phase == "answer":
                if self.conn.their_state is h11.IDLE:
                    self._wait_for("idle", patience.idle_s + 1)
                elif self._whole_request_is_here():
                    self._wait_for("answer", patience.answer_s)
                else:
                    self._wait_for("request", patience.request_s)

        def _whole_request_is_here(self) -> bool:
            return self.conn.their_state not in (h11.IDLE, h11.SEND_BODY)

        def _wait_for(self, phase: str, seconds: float) -> None:
            if self._deadline:
                self._deadline.cancel()
            waiting.pop(self, None)
            if phase != "answer":
                waiting[self] = None
            self._phase = phase
            self._deadline = self.loop.call_later(seconds, self._give_up)

        def _give_up(self) -> None:
            answered = self.conn.their_state is h11.SEND_BODY and self.cycle.response_started
            if self._phase == "request" and not answered and not self.transport.is_closing():
                self.transport.write(TOO_SLOW)
                # `close` alone would wait for ever for a client that reads nothing.
                self._wait_for("goodbye", 1)
                self.transport.close()
            else:
                self.transport.abort()

    return ImpatientProtocol
