"""A listener whose connections lead to one server, and which can keep, delay or cut what goes through; in asyncio."""

import asyncio
import socket
import struct
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, aclosing, suppress
from typing import Protocol

from services.local.waiting import LOOPBACK

CHUNK = 65_536
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # socket(7), SO_LINGER: on, for no time at all


class Count(Protocol):
    """Hears what went through."""

    def __call__(self, *, connections: int = 0, from_clients: int = 0, to_server: int = 0, to_clients: int = 0) -> None:
        """Add to the connections that are open, and to the bytes received from clients or passed on."""


class Wire:
    """The way from `port` to `target_port`, both on the loopback interface; used from one event loop only."""

    def __init__(self, port: int, target_port: int, count: Count) -> None:
        self.delay_s = 0.0
        self._port, self._target_port, self._count = port, target_port, count
        self._listener: asyncio.Server | None = None
        self._links: set[asyncio.Task[None]] = set()
        self._upward = asyncio.Event()
        self._reset = False

    async def open(self) -> None:
        """Accept connections, and pass on what clients send and what was kept of it."""
        await self._listen()
        self._upward.set()

    async def hold(self) -> None:
        """Accept connections, and keep what clients send."""
        await self._listen()
        self._upward.clear()

    async def cut(self, *, reset: bool) -> None:
        """Refuse connections, end those there are by RST or FIN, and forget what was kept."""
        if self._listener:
            self._listener.close()
            self._listener = None
        self._reset = reset
        links = tuple(self._links)
        for link in links:
            link.cancel()
        await asyncio.gather(*links, return_exceptions=True)
        await asyncio.sleep(0)  # the loop closes the sockets on its next turn

    async def _listen(self) -> None:
        self._reset = False
        if self._listener is None:
            self._listener = await asyncio.start_server(self._accept, LOOPBACK, self._port)

    def _accept(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        self._count(connections=1)
        link = asyncio.create_task(self._link(client, to_client))
        self._links.add(link)
        link.add_done_callback(self._links.discard)

    async def _link(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        """Carry both ways until the server has ended its own; the server hears of a client's end like of its bytes."""
        async with AsyncExitStack() as ends:
            ends.callback(self._count, connections=-1)
            ends.enter_context(suppress(OSError))
            ends.callback(self._close, to_client)
            server, to_server = await asyncio.open_connection(LOOPBACK, self._target_port)
            ends.callback(self._close, to_server)
            up = asyncio.create_task(self._carry_up(client, to_server))
            ends.push_async_callback(_end, up)
            async with aclosing(self._arrivals(server, lambda _: None)) as chunks:
                async for chunk in chunks:
                    # A client that is gone must not cost the server what was kept for it: go on listening.
                    with suppress(OSError):
                        to_client.write(chunk)
                        await to_client.drain()
                    self._count(to_clients=len(chunk))

    async def _carry_up(self, client: asyncio.StreamReader, to_server: asyncio.StreamWriter) -> None:
        async with aclosing(self._arrivals(client, self._heard)) as chunks:
            async for chunk in chunks:
                await self._upward.wait()
                to_server.write(chunk)
                self._count(to_server=len(chunk))
                await to_server.drain()
        await self._upward.wait()
        to_server.write_eof()

    def _heard(self, size: int) -> None:
        self._count(from_clients=size)

    async def _arrivals(
        self, reader: asyncio.StreamReader, heard: Callable[[int], None]
    ) -> AsyncGenerator[bytes, None]:
        """What comes in until its end or a reset, each piece after the delay that was set when it came."""
        kept: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        reading = asyncio.create_task(self._keep(reader, kept, heard))
        try:
            while True:
                due, chunk = await kept.get()
                await asyncio.sleep(due - asyncio.get_running_loop().time())
                if not chunk:
                    return
                yield chunk
        finally:
            await _end(reading)

    async def _keep(
        self, reader: asyncio.StreamReader, kept: asyncio.Queue[tuple[float, bytes]], heard: Callable[[int], None]
    ) -> None:
        chunk = b"first"
        while chunk:
            try:
                chunk = await reader.read(CHUNK)
            except OSError:
                chunk = b""
            kept.put_nowait((asyncio.get_running_loop().time() + self.delay_s, chunk))
            heard(len(chunk))

    def _close(self, writer: asyncio.StreamWriter) -> None:
        if self._reset:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            writer.transport.abort()
        else:
            writer.close()


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
