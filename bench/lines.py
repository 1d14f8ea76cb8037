"""Many MQTT 5 connections in one process, one for each device: under the broker's rules nobody speaks for another.

paho is driven by one epoll loop, as thousands of its own threads would not run (FACTS 11). Nothing is published from
within a callback: what was heard waits in `heard` until its owner takes it from there.
"""

from __future__ import annotations

import select
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.subscribeoptions import SubscribeOptions

if TYPE_CHECKING:
    from collections.abc import Iterable

_FOR_EVER: Final = 0  # keepalive: a device that is silent through a long window is not cut off


class Lines:
    """The connections of all devices; used from one thread."""

    def __init__(self, host: str, port: int) -> None:
        self.heard: deque[tuple[str, str, bytes]] = deque()
        """Device, topic, body."""
        self.unacknowledged = 0
        self._host, self._port = host, port
        self._poll = select.epoll()
        self._clients: dict[str, Client] = {}
        self._by_socket: dict[int, Client] = {}
        self._writing: set[int] = set()
        self._asked = 0

    def open(self, device: str, topics: Iterable[str]) -> None:
        """Connect the device and subscribe it to `topics`; `is_open` says when all that was begun is done."""
        client = Client(CallbackAPIVersion.VERSION2, device, protocol=MQTTv5, reconnect_on_failure=False)
        client.username_pw_set(device)
        client.on_connect = partial(self._on_connect, tuple(topics))
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_message = partial(self._on_message, device)
        client.on_disconnect = partial(self._on_disconnect, device)
        client.connect(self._host, self._port, keepalive=_FOR_EVER)
        connection: Any = client.socket()
        self._clients[device] = self._by_socket[connection.fileno()] = client
        self._poll.register(connection.fileno(), select.EPOLLIN)
        self._asked += 1

    @property
    def is_open(self) -> bool:
        """Whether every device that was opened is connected and subscribed."""
        return self._asked == 0

    def publish(self, device: str, topic: str, body: bytes, *, retain: bool = False) -> None:
        """Publish as this device at QoS 1."""
        client = self._clients[device]
        client.publish(topic, body, qos=1, retain=retain)
        self.unacknowledged += 1
        self._write(client)

    def turn(self, wait_s: float) -> None:
        """Read and write whatever can be; wait for it, `wait_s` at most.

        Raises:
            ConnectionError: the broker has ended a connection or refused something.
        """
        for descriptor, ready in self._poll.poll(wait_s):
            client = self._by_socket[descriptor]
            if ready & ~select.EPOLLOUT:
                client.loop_read()
            self._write(client)

    def _write(self, client: Client) -> None:
        if client.want_write():
            client.loop_write()
        connection: Any = client.socket()
        if connection is None:
            raise ConnectionError("the broker has ended a device's connection; see its log")
        descriptor, waits = connection.fileno(), client.want_write()
        if waits != (descriptor in self._writing):
            (self._writing.add if waits else self._writing.discard)(descriptor)
            self._poll.modify(descriptor, select.EPOLLIN | (select.EPOLLOUT if waits else 0))

    # paho calls what follows, and annotates neither user data nor properties.

    def _on_connect(self, topics: tuple[str, ...], client: Client, _user: Any, _f: Any, reason: Any, _p: Any) -> None:  # noqa: ANN401
        if reason.is_failure:
            raise ConnectionError(f"the broker refuses a device: {reason}")
        client.subscribe([(topic, SubscribeOptions(qos=1)) for topic in topics])

    def _on_subscribe(self, _client: Client, _user: Any, _mid: int, _reasons: Any, _p: Any) -> None:  # noqa: ANN401
        self._asked -= 1

    def _on_publish(self, _client: Client, _user: Any, _mid: int, reason: Any, _p: Any) -> None:  # noqa: ANN401
        if reason.is_failure:
            raise ConnectionError(f"the broker did not take a publication: {reason}")
        self.unacknowledged -= 1

    def _on_message(self, device: str, _client: Client, _user: Any, message: MQTTMessage) -> None:  # noqa: ANN401
        self.heard.append((device, message.topic, bytes(message.payload)))

    def _on_disconnect(self, device: str, _client: Client, _user: Any, _flags: Any, reason: Any, _p: Any) -> None:  # noqa: ANN401
        raise ConnectionError(f"{device} has lost its connection: {reason}; see the broker's log")
