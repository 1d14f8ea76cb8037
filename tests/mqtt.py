"""A small MQTT 5 client for tests: it waits for the broker's answers and keeps what it receives."""

import queue
import socket
from types import TracebackType
from typing import Any, NamedTuple, Self

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

PATIENCE_S = 30.0


class Said(NamedTuple):
    """A message as it was received."""

    topic: str
    payload: bytes
    retain: bool = False
    content_type: str = ""


class Peer:
    """A client by name, connected inside the context; its session lives on for `session_s` after it."""

    def __init__(
        self, port: int, name: str, *, session_s: int = 0, client_id: str = "", will: Said | None = None
    ) -> None:
        self.got: queue.Queue[Said] = queue.Queue()
        self.session_present = False
        self.max_packet: int | None = None
        self._port, self._session_s = port, session_s
        self._answers: queue.Queue[str] = queue.Queue()
        self._client = Client(
            CallbackAPIVersion.VERSION2, client_id or name, protocol=MQTTv5, reconnect_on_failure=False
        )
        self._client.username_pw_set(name)
        if will:
            self._client.will_set(will.topic, will.payload, qos=1, retain=will.retain)
        self._client.on_connect = self._connected
        self._client.on_message = self._received
        self._client.on_publish = lambda _c, _u, _mid, reason, _p: self._answers.put(str(reason))
        self._client.on_subscribe = lambda _c, _u, _mid, reasons, _p: self._answers.put(str(reasons[0]))

    def __enter__(self) -> Self:
        wishes = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # paho annotates no __init__ here
        wishes.SessionExpiryInterval = self._session_s
        self._client.connect("127.0.0.1", self._port, clean_start=not self._session_s, properties=wishes)
        self._client.loop_start()
        assert self._answers.get(timeout=PATIENCE_S) == "Success"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, topic: str, payload: bytes = b"x", *, retain: bool = False) -> str:
        """Publish with QoS 1, and return the reason in the broker's PUBACK."""
        sent = self._client.publish(topic, payload, qos=1, retain=retain)
        assert sent.rc == MQTTErrorCode.MQTT_ERR_SUCCESS
        return self._answers.get(timeout=PATIENCE_S)

    def subscribe(self, topics: str) -> str:
        """Subscribe with QoS 1, and return the reason in the broker's SUBACK."""
        self._client.subscribe(topics, qos=1)
        return self._answers.get(timeout=PATIENCE_S)

    def next(self) -> Said:
        """The next message."""
        return self.got.get(timeout=PATIENCE_S)

    def heard(self) -> list[Said]:
        """All that the broker had for this client by now: a SUBACK comes after what was sent before it."""
        self.subscribe("nothing/is/said/here")
        return [self.got.get() for _ in range(self.got.qsize())]

    def vanish(self) -> None:
        """Lose the connection without a word."""
        connection = self._client.socket()
        assert isinstance(connection, socket.socket)
        connection.shutdown(socket.SHUT_RDWR)
        self._client.loop_stop()

    def _connected(self, _client: Client, _user: Any, flags: ConnectFlags, reason: ReasonCode, limits: Any) -> None:
        self.session_present = flags.session_present
        self.max_packet = getattr(limits, "MaximumPacketSize", None)
        self._answers.put(str(reason))

    def _received(self, _client: Client, _user: Any, message: MQTTMessage) -> None:
        content_type = getattr(message.properties, "ContentType", "")
        self.got.put(Said(message.topic, bytes(message.payload), message.retain, content_type))
