"""paho's client, save for how packets come from the socket and go to it, and for what is read of those that come often.

What stands in a PUBLISH beside topic, id and body is whatever its publisher liked: user properties, a content type, a
response topic. A broker passes them on unread. paho parses each of them before anybody is asked, in a time that grows
with the square of their number (a packet of 1 MB took it 48 s), and one that its parser does not like, such as text
that holds U+FEFF, ends the connection; the session goes on, so the broker delivers it again on the next one, and
nothing else ever arrives. We use none of them, so they are skipped by their length. Of a PUBACK the id and the reason
are read.

paho asks the system for each of the first bytes of a packet, and for each packet that it sends. Here a read takes what
is there and a write what waits, because a call of the system costs more than all that we do with a short packet
(ADR 22).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from paho.mqtt.client import Client, time_func
from paho.mqtt.enums import MessageType, MQTTErrorCode

if TYPE_CHECKING:
    from collections.abc import Callable

READS_AT_ONCE: Final = 128 * 1024
"""A chunk of 96 KiB and its header, and some: but for a packet that is longer, no more is taken from the socket before
what was taken is handed on."""

_WRITES_AT_ONCE: Final = 64 * 1024
_FIRST_ROOM: Final = 4096  # a device hears short packets
_KIND: Final = 0xF0  # the upper half of a packet's first byte
_GOES_ON: Final = 0x80  # in each byte of a number but the last
_MOST_NUMBER: Final = 4


@dataclass(frozen=True)
class Publish:
    """A PUBLISH packet as far as it is read (MQTT 5 §3.3); `size` is the whole packet's but for its first bytes."""

    topic: str
    body: bytes = field(repr=False)
    qos: int
    retain: bool
    mid: int
    size: int


class Incoming:
    """The bytes of a connection that have come, until they are taken packet by packet.

    They lie in `_room` from `_begin` to `_end`. It grows while the socket fills it, to what is read at once, and beyond
    that only for a longer packet, and not before half of what there is room for has come: a length alone takes none.
    """

    def __init__(self) -> None:
        self._room = memoryview(bytearray(_FIRST_ROOM))
        self._begin = self._end = 0

    def fill(self, recv_into: Callable[[memoryview], int]) -> int:
        """Take what the socket gives, as far as there is room; how many bytes that was."""
        self._make_room()
        count = recv_into(self._room[self._end :])
        self._end += count
        return count

    def packet(self) -> tuple[int, memoryview] | None:
        """The first byte of the next packet and what stands behind its length, None while it is not whole.

        It is there until the next call of `fill`.

        Raises:
            ValueError: its length has more than four bytes.
        """
        found = _number(self._room, self._begin + 1, self._end)
        if found is None or (end := sum(found)) > self._end:
            return None
        first, self._begin = self._room[self._begin], end
        return first, self._room[found[1] : end]

    def _make_room(self) -> None:
        """Have room behind what came; what is left of it then begins at the front."""
        left = self._end - self._begin
        size = len(self._room)
        if left == size or self._end == size < READS_AT_ONCE:
            size = 2 * size
        elif not left and size > READS_AT_ONCE:
            size = READS_AT_ONCE
        if size != len(self._room):
            room = memoryview(bytearray(size))
            room[:left] = self._room[self._begin : self._end]
            self._room = room
        elif self._begin:
            self._room[:left] = self._room[self._begin : self._end]
        self._begin, self._end = 0, left


class LeanClient(Client):
    """A client that hands every PUBLISH to `heard` as soon as it is whole, and every PUBACK to `settled`.

    The callbacks of paho for either stay unused. While `has_room` says no, nothing more is handed on, and what has come
    already waits for `catch_up`. All of it is for one thread.
    """

    heard: Callable[[Publish], None]
    settled: Callable[[int, int], None]
    has_room: Callable[[], bool]
    _incoming: Incoming

    def reconnect(self) -> MQTTErrorCode:
        """As paho's; what an older connection brought in part is forgotten."""
        self._incoming = Incoming()
        return super().reconnect()

    def catch_up(self) -> None:
        """Handle what has come already and had to wait for room."""
        if self._sock is not None:
            code = self._packets_came()
            if code > 0:
                self._loop_rc_handle(code)

    def _packet_read(self) -> MQTTErrorCode:  # paho calls it where there is something to read
        """Read what is there, and handle all packets that are whole."""
        try:
            count = self._incoming.fill(self._sock.recv_into)  # type: ignore[union-attr]  # paho has looked
        except BlockingIOError:
            return MQTTErrorCode.MQTT_ERR_AGAIN
        except OSError:
            return MQTTErrorCode.MQTT_ERR_CONN_LOST
        if not count:
            return MQTTErrorCode.MQTT_ERR_CONN_LOST
        self._last_bytes_received = time_func()
        return self._packets_came()

    def _packets_came(self) -> MQTTErrorCode:
        """Handle whole packets while there is room; what is beside success and `AGAIN` ends the connection."""
        while self.has_room() and (came := self._incoming.packet()) is not None:
            code = self._packet_came(*came)
            if code or self._sock is None:
                return code
        return MQTTErrorCode.MQTT_ERR_AGAIN

    def _packet_came(self, first: int, packet: memoryview) -> MQTTErrorCode:
        match first & _KIND:
            case MessageType.PUBLISH:
                publish = read(first, packet)
                self.heard(publish)
                if publish.qos and not self._manual_ack:
                    return self._send_puback(publish.mid)
                return MQTTErrorCode.MQTT_ERR_SUCCESS
            case MessageType.PUBACK:
                return self._acknowledged(packet)
            case _:
                self._in_packet |= {"command": first, "packet": bytearray(packet), "remaining_length": len(packet)}
                self._in_packet["pos"] = 0
                return self._packet_handle()

    def _acknowledged(self, packet: memoryview) -> MQTTErrorCode:
        """The broker has a publication of ours, or says by a reason why not; 0 is left out (MQTT 5 §3.4.2.1)."""
        mid = int.from_bytes(packet[:2], "big")
        if self._out_messages.pop(mid, None) is not None:
            self._inflight_messages -= 1
            self.settled(mid, packet[2] if len(packet) > 2 else 0)  # noqa: PLR2004  # bytes of the id
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _packet_write(self) -> MQTTErrorCode:  # paho calls it where there is something to write
        """Write what waits, short packets together."""
        together = bytearray()
        while self._out_packet and len(together) < _WRITES_AT_ONCE and _may_be_joined(packet := self._out_packet[0]):
            together += memoryview(packet["packet"])[packet["pos"] :]
            self._out_packet.popleft()
        if together:
            joined = {"command": MessageType.PUBACK, "mid": 0, "qos": 1, "pos": 0, "info": None}
            self._out_packet.appendleft({**joined, "to_process": len(together), "packet": together})  # type: ignore[typeddict-item]
        return super()._packet_write()


def _may_be_joined(packet: Any) -> bool:  # noqa: ANN401  # paho's own dict
    """Whether it is one of very many, and paho has nothing to do once it has gone."""
    return packet["command"] & _KIND in {MessageType.PUBLISH, MessageType.PUBACK} and packet["qos"] > 0


def read(first: int, packet: Any) -> Publish:  # noqa: ANN401  # bytes or a bytearray
    """The PUBLISH packet that begins with this byte, from behind its length; our filters ask for QoS 1 at most."""
    qos = first >> 1 & 3
    at = 2 + int.from_bytes(packet[:2], "big")
    # A broker that lets other bytes through than UTF-8 shall not be able to stop us with them.
    topic = bytes(packet[2:at]).decode(errors="replace")
    mid = int.from_bytes(packet[at : at + 2], "big") if qos else 0
    at = _behind_properties(packet, at + 2 if qos else at)
    return Publish(topic, bytes(packet[at:]), qos, bool(first & 1), mid, len(packet))


def _behind_properties(packet: Any, at: int) -> int:  # noqa: ANN401  # as above
    """Where the body begins."""
    found = _number(packet, at, len(packet))
    if found is None:
        raise ValueError("a PUBLISH ends within the length of its properties")
    length, start = found
    return start + length


def _number(packet: Any, at: int, end: int) -> tuple[int, int] | None:  # noqa: ANN401  # as above
    """The variable byte integer that begins at `at` (MQTT 5 §1.5.5), and where it ends; None if that is beyond `end`.

    Raises:
        ValueError: it has more than four bytes.
    """
    number = 0
    for place in range(at, min(end, at + _MOST_NUMBER)):
        number |= (packet[place] & 0x7F) << 7 * (place - at)
        if packet[place] < _GOES_ON:
            return number, place + 1
    if end < at + _MOST_NUMBER:
        return None
    raise ValueError("a length in a packet has at most four bytes")
