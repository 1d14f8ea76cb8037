"""paho's client, save for what the broker publishes to us: of a PUBLISH it reads the topic, the id and the body.

What else stands there is whatever its publisher liked: user properties, a content type, a response topic. A broker
passes them on unread. paho parses each of them before anybody is asked, in a time that grows with the square of their
number (a packet of 1 MB took it 48 s), and one that its parser does not like, such as text that holds U+FEFF, ends the
connection; the session goes on, so the broker delivers it again on the next one, and nothing else ever arrives. We use
none of them, so they are skipped by their length. That also spares a third of what paho needs for a message.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from paho.mqtt.client import Client
from paho.mqtt.enums import MQTTErrorCode

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Publish:
    """A PUBLISH packet as far as it is read (MQTT 5 §3.3); `size` is the whole packet's but for its first bytes."""

    topic: str
    body: bytes = field(repr=False)
    qos: int
    retain: bool
    mid: int
    size: int


class LeanClient(Client):
    """A client that hands every PUBLISH to `heard` as soon as it is whole; the callbacks for messages stay unused."""

    heard: Callable[[Publish], None]

    def _handle_publish(self) -> MQTTErrorCode:  # paho calls it for each
        publish = read(self._in_packet["command"], self._in_packet["packet"])
        self.heard(publish)
        if publish.qos and not self._manual_ack:
            return self._send_puback(publish.mid)
        return MQTTErrorCode.MQTT_ERR_SUCCESS


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
    """Where the body begins; the properties' length is a variable byte integer (MQTT 5 §1.5.5)."""
    length = 0
    for place in range(4):
        length |= (packet[at + place] & 0x7F) << 7 * place
        if packet[at + place] < 0x80:  # noqa: PLR2004  # the last byte of the number
            return int(at + place + 1 + length)
    raise ValueError("the length of a PUBLISH's properties has at most four bytes")
