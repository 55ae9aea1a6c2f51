"""The wires between processes: TCP proxies of our own, so that connections can be cut and stalled."""

import asyncio
import itertools
import socket
import struct
from typing import Final

HOST: Final = "127.0.0.1"
RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


class Link:
    """A port that leads to one of `targets`, in turn, so that the same link is also a balancer.

    `stalled` wires carry nothing and lose nothing: bytes wait where they are, as when a packet is sent again and again.
    """

    def __init__(self, name: str, *targets: int) -> None:
        self.name = name
        self.targets = list(targets)
        self.port = 0
        self._turns = itertools.count()
        self._wires: set[_Wire] = set()
        self._open = asyncio.Event()
        self._open.set()
        self._refusing = False
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen, on any free port."""
        self._server = await asyncio.get_running_loop().create_server(lambda: _Wire(self), HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the port and every connection."""
        if self._server:
            self._server.close()
        self.cut()
        await asyncio.sleep(0)

    def cut(self) -> int:
        """Break every connection with a reset, whatever was under way on it. How many there were."""
        wires = list(self._wires)
        for wire in wires:
            wire.reset()
        return len(wires)

    def refuse(self, refusing: bool) -> None:
        """Whether new connections are reset at once."""
        self._refusing = refusing

    def stall(self) -> None:
        """Carry nothing until `flow`."""
        self._open.clear()
        for wire in self._wires:
            wire.pause()

    def flow(self) -> None:
        """Carry again."""
        self._open.set()
        for wire in self._wires:
            wire.resume()

    async def lead(self, wire: "_Wire") -> None:
        """Connect a new wire to the next target that answers."""
        self._wires.add(wire)
        await self._open.wait()
        loop = asyncio.get_running_loop()
        first = next(self._turns)
        for number in range(len(self.targets)):
            if self._refusing:
                break
            port = self.targets[(first + number) % len(self.targets)]
            try:
                await loop.create_connection(lambda: _FarEnd(wire), HOST, port)
            except OSError:
                continue
            return
        wire.reset()

    def forget(self, wire: "_Wire") -> None:
        """A wire has ended."""
        self._wires.discard(wire)

    @property
    def stalled(self) -> bool:
        """Whether nothing is carried now."""
        return not self._open.is_set()


class _End(asyncio.Protocol):
    """One end of a wire: what it hears, the other says; if the other is slow to take it, this one stops listening."""

    transport: asyncio.Transport | None = None
    other: "_End | None" = None
    said_all = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        if self.other and self.other.transport:
            self.other.transport.write(data)

    def eof_received(self) -> bool:
        self.said_all = True
        if self.other and self.other.transport and self.other.transport.can_write_eof():
            self.other.transport.write_eof()
        return not (self.other and self.other.said_all)

    def pause_writing(self) -> None:
        if self.other and self.other.transport:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other and self.other.transport:
            self.other.transport.resume_reading()

    def reset(self) -> None:
        """End with a reset instead of a farewell."""
        if self.transport and not self.transport.is_closing():
            with_socket = self.transport.get_extra_info("socket")
            with_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            self.transport.abort()


class _Wire(_End):
    """The near end; it holds back what it hears until the far one is there."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self._leading: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.pause()
        self._leading = asyncio.get_running_loop().create_task(self.link.lead(self))

    def joined(self, far: "_FarEnd") -> None:
        """The far end is there."""
        self.other = far
        if self.link.stalled:
            self.pause()
        else:
            self.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        self.link.forget(self)
        if self._leading and self.other is None:
            self._leading.cancel()
        if self.other and self.other.transport:
            self.other.reset() if exc else self.other.transport.close()

    def pause(self) -> None:
        """Listen to neither end."""
        for end in (self, self.other):
            if end and end.transport:
                end.transport.pause_reading()

    def resume(self) -> None:
        """Listen to both."""
        if self.other:
            for end in (self, self.other):
                if end.transport and not end.transport.is_closing():
                    end.transport.resume_reading()

    def reset(self) -> None:
        super().reset()
        if self.other:
            self.other.reset()


class _FarEnd(_End):
    def __init__(self, wire: _Wire) -> None:
        self.other = wire

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        near = self.other
        if isinstance(near, _Wire) and near.transport and not near.transport.is_closing():
            near.joined(self)
        else:
            self.reset()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other and self.other.transport and not self.other.transport.is_closing():
            self.other.reset() if exc else self.other.transport.close()
