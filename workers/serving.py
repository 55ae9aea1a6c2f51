"""Listen on an address and serve an application until told to stop."""

import asyncio
import socket

import structlog
import uvicorn
from starlette.types import ASGIApp

from web.server import server_config


async def serve(app: ASGIApp, host: str, port: int, stop: asyncio.Event, ready: str, trusted_proxies: str = "") -> None:
    """Serve until `stop` is set; `ready` is logged once the port is open.

    Raises:
        OSError: the address is not ours, or taken.
    """
    # asyncio switches Nagle's delay off only on sockets that name their protocol.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    # Whoever reads that we are ready may knock at once, before uvicorn has got as far.
    listener.listen(2048)
    server = uvicorn.Server(server_config(app, trusted_proxies=trusted_proxies))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    structlog.get_logger().info(ready, port=listener.getsockname()[1])
    waiting = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    waiting.cancel()
    await serving
