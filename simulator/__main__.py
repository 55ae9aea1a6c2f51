"""Run the simulator alone: python -m simulator --port 0 --seed 1.

Prints one JSON line {"url": ...} when it listens.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import sys

import uvicorn

from simulator.app import Simulator
from simulator.running import listening_socket, server_config


class AnnouncingServer(uvicorn.Server):
    """Prints its address as soon as it listens."""

    def __init__(self, config: uvicorn.Config, url: str) -> None:
        super().__init__(config)
        self._url = url

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say where."""
        await super().startup(sockets=sockets)
        sys.stdout.write(json.dumps({"url": self._url}) + "\n")
        sys.stdout.flush()


async def serve(port: int, seed: int) -> None:
    """Serve until a signal comes."""
    simulator = Simulator(seed)
    listener = listening_socket(port)
    simulator.world.base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    await AnnouncingServer(server_config(simulator), simulator.world.base_url).serve(sockets=[listener])


def main() -> None:
    """Read the options and serve."""
    parser = argparse.ArgumentParser(prog="python -m simulator", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.port, arguments.seed))


if __name__ == "__main__":
    main()
