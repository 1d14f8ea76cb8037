"""One MQTT 5 session over one TCP connection after another, on paho's client; used by one thread alone.

What is true of it:

- Before `connect` and after the connection is gone `is_open` is false, and nothing goes out or comes in.
- A connection that was accepted has a `generation` of its own. An acknowledgement of an older one is dropped: the
  broker deals its message ids again, and the ack would hit another message, which is then lost (FACTS 5).
- `_unacked` are the deliveries that the broker has no acknowledgement of, in the order in which they came. They are
  acknowledged in that order too, whatever the order in which their owner is done with them (MQTT 5 §4.6): one that is
  done early waits for those before it. Some brokers end a connection that does otherwise.
- `_held` are the bytes of their packets. While either passes what the owner allows, the connection is not read.
- `_wanted` are the filters we are asked to hold. A request stays in `_unsure` until the broker has confirmed it and is
  made again on the next connection; a broker that has forgotten the session is asked for all of them.
- What is to be published lies in `_waiting`; at most as many as the broker takes at a time are with paho (`_flying`),
  which sends them again, with the same message ids, when the session goes on over a new connection. What is not
  `lasting` is let go before there is one: MQTT would have it sent again although nobody may want it any more. (At QoS 1
  a broker remembers nothing of what it has not got, so it does not miss it.)
"""

from __future__ import annotations

import logging
import os
import select
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from mizzle.transport.bus import LINE_LOST, AckToken, Arrived, BusEvent, Connected, Disconnected, Sent, Will
from mizzle.transport.lean_client import LeanClient, Publish

TOO_LARGE: Final = 0x95
"""The reason of a publication that is longer than the broker takes (MQTT 5: packet too large); it was not sent."""

_MOST_FLYING: Final = 100  # AWS IoT Core takes no more at a time (FACTS 12)
_MOST_PACKET: Final = 256 * 1024 * 1024  # MQTT 5 §1.5.5: no packet is longer
_CONNECT_TIMEOUT_S: Final = 5.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outgoing:
    """A publication, and the number by which its sender knows it."""

    number: int
    topic: str
    body: bytes
    retain: bool
    content_type: str = ""
    lasting: bool = True

    @cached_property
    def size(self) -> int:
        """The bytes of its PUBLISH packet at most: header 5, topic, message id 2, properties 1 to 4, body."""
        return 10 + len(self.topic.encode()) + len(self.body) + (6 + len(self.content_type) if self.content_type else 0)

    @property
    def properties(self) -> Properties | None:
        """What stands in the packet beside the body (MQTT 5 §3.3.2.3)."""
        if not self.content_type:
            return None
        named = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        named.ContentType = self.content_type
        return named


@dataclass(frozen=True)
class Address:
    """Where the broker listens, and who we say that we are: whose session it is, and whose rights we have there."""

    host: str
    port: int
    client_id: str
    user: str
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Terms:
    """What we ask of the broker when we connect."""

    session_expiry_s: int
    receive_maximum: int
    receive_bytes: int
    manual_ack: bool
    keepalive_s: int


class Line:
    """A client's session with a broker; what happens gathers in `events` until its owner takes it from there."""

    def __init__(self, address: Address, terms: Terms, will: Will | None, settled: Callable[[Outgoing], None]) -> None:
        self.events: deque[BusEvent] = deque()
        self._address, self._terms, self._settled = address, terms, settled
        self.generation = 0
        self._accepted = False
        self._why = ""
        self._wanted: dict[str, None] = {}
        self._unsure: dict[str, bool] = {}
        self._asked: dict[int, str] = {}
        self._waiting: deque[Outgoing] = deque()
        self._flying: dict[int, Outgoing] = {}
        self._unacked: dict[int, bool] = {}  # message id: is its owner done with it?
        self._sizes: dict[int, int] = {}
        self._held = 0
        self._most_flying, self._most_packet = _MOST_FLYING, _MOST_PACKET
        self._client = self._made(will)

    @property
    def is_open(self) -> bool:
        """Whether there is a connection, or one is being made."""
        return self._client.socket() is not None

    @property
    def is_empty(self) -> bool:
        """Whether the broker has everything that was to be published."""
        return not self._waiting and not self._flying

    def connect(self) -> None:
        """Connect and say who we are; the broker's answer comes as an event. Raises OSError if nobody listens."""
        self._why, self._accepted = "", False
        self._let_go()
        self._client.reconnect()

    def turn(self, wakeup: int, longest_ms: int = 1000) -> None:
        """Read, write and wait for one or the other, until the descriptor `wakeup` is written to or time is up.

        paho's keepalive wants to be asked about once a second, so `longest_ms` is not longer.
        """
        self._client.catch_up()
        self._hand_over()
        if (connection := self._client.socket()) is None:
            return
        poll = select.poll()
        poll.register(wakeup, select.POLLIN)
        poll.register(connection, self._interest())
        ready = dict(poll.poll(0 if self.events else longest_ms))
        if wakeup in ready:
            os.eventfd_read(wakeup)
        if ready.get(connection.fileno(), 0) & ~select.POLLOUT:
            self._client.loop_read()
        if self._client.want_write():
            self._client.loop_write()
        self._client.loop_misc()

    def publish(self, outgoing: Outgoing) -> None:
        """Send this as soon as the broker takes it; what is not to outlast a line only if there is one."""
        if outgoing.lasting or self._accepted:
            self._waiting.append(outgoing)
        else:
            self._settle(outgoing, LINE_LOST)

    def ask(self, topic_filter: str, *, wanted: bool) -> None:
        """Ask for what matches the filter, or not to get it any longer; now, or on the next connection."""
        if wanted:
            self._wanted[topic_filter] = None
        else:
            self._wanted.pop(topic_filter, None)
        self._unsure[topic_filter] = wanted
        if self._accepted:
            self._request(topic_filter, wanted=wanted)

    def ack(self, token: AckToken) -> None:
        """Acknowledge a message of this connection; one of an older connection comes again by itself."""
        if token.generation != self.generation or token.mid not in self._unacked:
            return
        self._unacked[token.mid] = True
        while self._unacked and self._unacked[first := next(iter(self._unacked))]:
            del self._unacked[first]
            self._held -= self._sizes.pop(first)
            self._client.ack(first, 1)

    def say_goodbye(self) -> None:
        """Disconnect in order: the broker keeps the session and forgets the will."""
        self._client.disconnect()

    def _made(self, will: Will | None) -> LeanClient:
        client = LeanClient(
            CallbackAPIVersion.VERSION2,
            self._address.client_id,
            protocol=MQTTv5,
            manual_ack=self._terms.manual_ack,
        )
        client.username_pw_set(self._address.user, self._address.password)
        client.connect_timeout = _CONNECT_TIMEOUT_S
        client.max_inflight_messages = 0  # `_hand_over` counts them
        if will:
            client.will_set(will.topic, will.body, qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.heard, client.has_room = self._heard, self._has_room
        client.settled = self._on_puback
        client.on_subscribe = self._on_subscribe
        client.on_unsubscribe = self._on_subscribe
        # Without it paho would write from whichever thread calls it.
        client.on_socket_register_write = lambda _client, _user, _socket: None
        wishes = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        wishes.SessionExpiryInterval = self._terms.session_expiry_s
        wishes.ReceiveMaximum = self._terms.receive_maximum
        host, port = self._address.host, self._address.port
        client.connect_async(host, port, self._terms.keepalive_s, clean_start=False, properties=wishes)
        return client

    def _has_room(self) -> bool:
        # FACTS 8: brokers send more than the Receive Maximum, so we bound what is unacknowledged by not reading on.
        # PUBACKs for what we send wait meanwhile too: nobody may wait for them before acknowledging.
        return len(self._unacked) < self._terms.receive_maximum and self._held < self._terms.receive_bytes

    def _interest(self) -> int:
        reads = select.POLLIN if self._has_room() else 0
        return reads | (select.POLLOUT if self._client.want_write() else 0)

    def _hand_over(self) -> None:
        """Give paho as many publications as the broker takes at a time."""
        while self._accepted and self._waiting and len(self._flying) < self._most_flying:
            outgoing = self._waiting.popleft()
            if outgoing.size > self._most_packet:
                self._settle(outgoing, TOO_LARGE)
                continue
            message = self._client.publish(
                outgoing.topic, outgoing.body, qos=1, retain=outgoing.retain, properties=outgoing.properties
            )
            self._flying[message.mid] = outgoing

    def _settle(self, outgoing: Outgoing, reason: int) -> None:
        self._settled(outgoing)
        self.events.append(Sent(outgoing.topic, outgoing.number, reason))

    def _request(self, topic_filter: str, *, wanted: bool) -> None:
        request = self._client.subscribe(topic_filter, qos=1) if wanted else self._client.unsubscribe(topic_filter)
        if request[1] is not None:
            self._asked[request[1]] = topic_filter

    def _on_connect(self, _client: Client, _user: Any, flags: ConnectFlags, reason: ReasonCode, granted: Any) -> None:  # noqa: ANN401  # paho's callbacks
        if reason.is_failure:
            self._why = f"the broker refuses {self._address.user}: {reason}"
            return
        self.generation += 1
        self._accepted = True
        self._unacked.clear()
        self._sizes.clear()
        self._held = 0
        self._asked.clear()
        self._most_packet = getattr(granted, "MaximumPacketSize", _MOST_PACKET)
        self._most_flying = min(getattr(granted, "ReceiveMaximum", _MOST_FLYING), _MOST_FLYING)
        self._take_back_what_does_not_fit()
        if not flags.session_present:
            self._unsure |= dict.fromkeys(self._wanted, True)
        for topic_filter, wanted in self._unsure.items():
            self._request(topic_filter, wanted=wanted)
        self.events.append(Connected(bool(flags.session_present)))

    def _take_back_what_does_not_fit(self) -> None:
        """If this broker takes less than the last one, take back what paho has: it would send it all the same."""
        if len(self._flying) > self._most_flying or any(o.size > self._most_packet for o in self._flying.values()):
            self._take_back()

    def _take_back(self) -> None:
        self._client.drop_out_messages()
        self._waiting.extendleft(reversed(self._flying.values()))
        self._flying.clear()

    def _let_go(self) -> None:
        """Settle what was not to outlast the line that is gone."""
        if not all(outgoing.lasting for outgoing in (*self._flying.values(), *self._waiting)):
            self._take_back()
            for outgoing in self._waiting:
                if not outgoing.lasting:
                    self._settle(outgoing, LINE_LOST)
            self._waiting = deque(outgoing for outgoing in self._waiting if outgoing.lasting)

    def _on_disconnect(self, _client: Client, _user: Any, _flags: DisconnectFlags, reason: ReasonCode, _p: Any) -> None:  # noqa: ANN401
        self._accepted = False
        self.events.append(Disconnected(self._why or str(reason)))

    def _heard(self, publish: Publish) -> None:
        token = None
        if self._terms.manual_ack and publish.qos:
            token = AckToken(self.generation, publish.mid)
            self._unacked[publish.mid] = False
            self._held += publish.size - self._sizes.get(publish.mid, 0)
            self._sizes[publish.mid] = publish.size
        self.events.append(Arrived(publish.topic, publish.body, publish.retain, token))

    def _on_puback(self, mid: int, reason: int) -> None:
        self._settle(self._flying.pop(mid), reason)

    def _on_subscribe(self, _client: Client, _user: Any, mid: int, reasons: list[ReasonCode], _p: Any) -> None:  # noqa: ANN401
        topic_filter = self._asked.pop(mid, None)
        if topic_filter is None or topic_filter in self._asked.values():
            return
        self._unsure.pop(topic_filter, None)
        for reason in reasons:
            if reason.is_failure:
                _log.error("the broker refuses the filter %s: %s", topic_filter, reason)
