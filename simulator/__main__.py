"""Run the simulator alone: python -m simulator --port 0 --seed 1.

Prints one JSON line {"url": ...} when it listens.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import sys
from pathlib import Path

import uvicorn

from simulator.app import Simulator
from simulator.memory import Memory
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


async def serve(port: int, seed: int, memory: Path | None = None) -> None:
    """Serve until a signal comes; with a folder for its memory, from where an earlier process was killed."""
    simulator = Simulator(seed)
    listener = listening_socket(port)
    simulator.world.base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    app = Memory(simulator, memory) if memory else None
    await AnnouncingServer(server_config(simulator, app), simulator.world.base_url).serve(sockets=[listener])


def main() -> None:
    """Read the options and serve."""
    parser = argparse.ArgumentParser(prog="python -m simulator", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--memory", type=Path, help="a folder; what it holds of an earlier run goes on")
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.port, arguments.seed, arguments.memory))


if __name__ == "__main__":
    main()
