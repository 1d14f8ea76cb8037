"""A listener whose connections lead to one server, and which can keep, delay or cut what goes through; in asyncio."""

import asyncio
import itertools
import socket
import struct
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import dataclass
from typing import Protocol

from services.local.waiting import LOOPBACK

CHUNK = 65_536
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # socket(7), SO_LINGER: on, for no time at all


SPREAD_OVER = 3  # connections in turn: of any three neighbours one waits not at all, one half as long, one whole


@dataclass(frozen=True, slots=True)
class Weather:
    """What befalls bytes on their way.

    They travel `up_s` to the server and `down_s` to the client. `spread_s` is the longest that one connection is behind
    another: the first waits not at all, the second half of it, the third all of it, the fourth not at all again. Once
    `cut_after` more bytes of its client have passed, a connection is reset. Where it `loses_answers`, what the server
    says vanishes; a connection that lost some ends when this does, since nothing can follow a hole.

    TCP keeps the order of what goes one way over one connection, and so does this. What these turn around is the order
    of one way against the other, and of one connection against another.
    """

    up_s: float = 0.0
    down_s: float = 0.0
    spread_s: float = 0.0
    cut_after: int | None = None
    loses_answers: bool = False


@dataclass(slots=True, eq=False)
class _Link:
    """One connection through the wire: which it is, how far its client may go, and whether there is a hole in it."""

    number: int
    task: asyncio.Task[None] | None = None
    allowed: int | None = None
    has_hole: bool = False
    resets: bool = False

    def end(self, *, reset: bool) -> None:
        """End it, by RST or FIN."""
        self.resets = reset
        if self.task is not None:
            self.task.cancel()

    def spread(self, weather: Weather) -> float:
        """How many seconds it is behind."""
        return weather.spread_s * (self.number % SPREAD_OVER) / (SPREAD_OVER - 1)


class Count(Protocol):
    """Hears what went through."""

    def __call__(self, *, connections: int = 0, from_clients: int = 0, to_server: int = 0, to_clients: int = 0) -> None:
        """Add to the connections that are open, and to the bytes received from clients or passed on."""


class Wire:
    """The way from `port` to `target_port`, both on the loopback interface; used from one event loop only."""

    def __init__(self, port: int, target_port: int, count: Count) -> None:
        self._port, self._target_port, self._count = port, target_port, count
        self._listener: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._numbers = itertools.count()
        self._upward, self._downward = asyncio.Event(), asyncio.Event()
        self._weather = Weather()

    async def open(self) -> None:
        """Accept connections, and pass on what both sides send and what was kept of it."""
        await self._listen()
        self._upward.set()
        self._downward.set()

    async def hold(self, *, clients: bool, server: bool) -> None:
        """Accept connections, and keep what clients send, or what the server says, or both."""
        await self._listen()
        for event, is_held in ((self._upward, clients), (self._downward, server)):
            if is_held:
                event.clear()
            else:
                event.set()

    async def cut(self, *, reset: bool) -> None:
        """Refuse connections, end those there are by RST or FIN, and forget what was kept."""
        if self._listener:
            self._listener.close()
            self._listener = None
        await self._end_links(tuple(self._links), reset=reset)

    async def change(self, weather: Weather) -> None:
        """Have this weather from now on; connections in which the one before left a hole are reset."""
        self._weather = weather
        for link in self._links:
            link.allowed = weather.cut_after
        await self._end_links([link for link in self._links if link.has_hole], reset=True)

    async def _end_links(self, links: Collection[_Link], *, reset: bool) -> None:
        for link in links:
            link.end(reset=reset)
        await asyncio.gather(*(link.task for link in links if link.task), return_exceptions=True)
        await asyncio.sleep(0)  # the loop closes the sockets on its next turn

    async def _listen(self) -> None:
        if self._listener is None:
            self._listener = await asyncio.start_server(self._accept, LOOPBACK, self._port)

    def _accept(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        self._count(connections=1)
        link = _Link(next(self._numbers), allowed=self._weather.cut_after)
        link.task = asyncio.create_task(self._carry(link, client, to_client))
        self._links.add(link)
        link.task.add_done_callback(lambda _: self._links.discard(link))

    async def _carry(self, link: _Link, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        """Carry both ways until the server has ended its own; the server hears of a client's end like of its bytes."""
        async with AsyncExitStack() as ends:
            ends.callback(self._count, connections=-1)
            ends.enter_context(suppress(OSError))
            ends.callback(lambda: _close(to_client, reset=link.resets))
            server, to_server = await asyncio.open_connection(LOOPBACK, self._target_port)
            # A reset would take back what the server has not read yet: it is to have all that was allowed.
            ends.callback(lambda: _close(to_server, reset=link.resets and link.allowed != 0))
            up = asyncio.create_task(self._carry_up(link, client, to_server))
            ends.push_async_callback(_end, up)
            async with aclosing(_arrivals(server, lambda: self._weather.down_s + link.spread(self._weather))) as chunks:
                async for chunk in chunks:
                    await self._answer(link, chunk, to_client)

    async def _answer(self, link: _Link, chunk: bytes, to_client: asyncio.StreamWriter) -> None:
        await self._downward.wait()
        link.has_hole = link.has_hole or self._weather.loses_answers
        if link.has_hole:
            return
        # A client that is gone must not cost the server what was kept for it: go on listening.
        with suppress(OSError):
            to_client.write(chunk)
            await to_client.drain()
        self._count(to_clients=len(chunk))

    async def _carry_up(self, link: _Link, client: asyncio.StreamReader, to_server: asyncio.StreamWriter) -> None:
        delay = lambda: self._weather.up_s + link.spread(self._weather)  # noqa: E731  # one line, used once
        async with aclosing(_arrivals(client, delay, self._heard)) as chunks:
            async for chunk in chunks:
                await self._upward.wait()
                passed = chunk[: link.allowed]
                to_server.write(passed)
                self._count(to_server=len(passed))
                await to_server.drain()
                if link.allowed is not None:
                    link.allowed -= len(passed)
                    if link.allowed == 0:
                        link.end(reset=True)
        await self._upward.wait()
        to_server.write_eof()

    def _heard(self, size: int) -> None:
        self._count(from_clients=size)


async def _arrivals(
    reader: asyncio.StreamReader, delay: Callable[[], float], heard: Callable[[int], None] = lambda _: None
) -> AsyncGenerator[bytes, None]:
    """What comes in until its end or a reset, each piece after the delay that held when it came."""
    kept: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
    reading = asyncio.create_task(_keep(reader, kept, delay, heard))
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
    reader: asyncio.StreamReader,
    kept: asyncio.Queue[tuple[float, bytes]],
    delay: Callable[[], float],
    heard: Callable[[int], None],
) -> None:
    chunk = b"first"
    while chunk:
        try:
            chunk = await reader.read(CHUNK)
        except OSError:
            chunk = b""
        kept.put_nowait((asyncio.get_running_loop().time() + delay(), chunk))
        heard(len(chunk))


def _close(writer: asyncio.StreamWriter, *, reset: bool) -> None:
    if reset:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        writer.transport.abort()
    else:
        writer.close()


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
