"""MQTT 5 by hand, for packets that no client library writes."""

import socket
import struct
from types import TracebackType
from typing import Self

CONNECT, CONNACK, PUBLISH, PUBACK = 0x10, 0x20, 0x32, 0x40
CONTENT_TYPE, RESPONSE_TOPIC, CORRELATION, USER_PROPERTY = b"\x03", b"\x08", b"\x09", b"\x26"
PATIENCE_S = 30.0


def number(value: int) -> bytes:
    """A variable byte integer (MQTT 5 §1.5.5)."""
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + number(rest) if rest else bytes([low])


def text(value: bytes | str) -> bytes:
    """Text, or bytes, behind their length."""
    value = value.encode() if isinstance(value, str) else value
    return struct.pack(">H", len(value)) + value


def user_property(name: str, value: str) -> bytes:
    """A name and a value that go with a message."""
    return USER_PROPERTY + text(name) + text(value)


def publish(topic: str, body: bytes, properties: bytes = b"", mid: int = 1) -> bytes:
    """A PUBLISH packet at QoS 1."""
    rest = text(topic) + struct.pack(">H", mid) + number(len(properties)) + properties + body
    return bytes([PUBLISH]) + number(len(rest)) + rest


class Wire:
    """A connection to a broker under a name, inside the context."""

    def __init__(self, port: int, name: str) -> None:
        self._address, self._name = ("127.0.0.1", port), name

    def __enter__(self) -> Self:
        self._socket = socket.create_connection(self._address, PATIENCE_S)
        self._read = self._socket.makefile("rb")
        rest = text("MQTT") + bytes([5, 0x82]) + struct.pack(">H", 60) + number(0)  # clean start, and a user name
        rest += text(f"{self._name}-wire") + text(self._name)
        self._socket.sendall(bytes([CONNECT]) + number(len(rest)) + rest)
        assert self._answer(CONNACK)[1] == 0
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._read.close()
        self._socket.close()

    def publish(self, topic: str, body: bytes, properties: bytes = b"") -> int:
        """Publish, and return the reason in the broker's PUBACK."""
        self._socket.sendall(publish(topic, body, properties))
        answer = self._answer(PUBACK)
        return answer[2] if len(answer) > 2 else 0

    def _answer(self, kind: int) -> bytes:
        """The rest of the broker's next packet, which is short and of this kind."""
        first, length = self._read.read(2)
        assert (first, length < 0x80) == (kind, True)
        return self._read.read(length)
