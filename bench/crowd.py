"""Thousands of devices in one thread: each with its own key, its own MQTT session and ready-made updates.

They enrol, say that they are there, and send one update each when they are invited. They do not train: their payloads
are made beforehand. One loop drives all their sockets, because a thread for each would cost more than it does.
"""

from __future__ import annotations

import hashlib
import selectors
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from mizzle import parts, topics
from mizzle.codec import decode
from mizzle.codes import packed
from mizzle.device.enrol import parse, sealed_enrolment
from mizzle.envelope import Key, Purpose, seal, unseal
from mizzle.grid import Levels, fit
from mizzle.messages import BlobRef, Identity, Invitation, Presence, Receipt, Update
from mizzle.terms import bound_of, codec_of, grid_of
from mizzle.topics import Up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from mizzle.plan import Plan

KEEPALIVE_S: Final = 600
AT_ONCE: Final = 250
SAY_AGAIN_S: Final = 2.0
_MISC_S: Final = 1.0


class Late(Exception):
    """The crowd waited for something too long; the text says for what."""


@dataclass(eq=False)
class Wanderer:
    """One device, and what it was told: its identity, its newest invitation, its receipts as they came."""

    name: str
    key: Key
    token: str
    client: mqtt.Client
    listens: bool = False
    counter: int = 1
    epoch: int | None = None
    invitation: Invitation | None = None
    receipts: list[bytes] = field(default_factory=list)

    def signed(self) -> int:
        """The next number to sign under."""
        self.counter += 1
        return self.counter


class Crowd:
    """The devices of these tokens at the broker on a loopback port; to be used from one thread."""

    def __init__(self, plan: Plan, port: int, tokens: Iterable[str]) -> None:
        self._plan, self._port = plan, port
        self._selector = selectors.DefaultSelector()
        self.devices = [self._wanderer(token) for token in tokens]
        self._looked = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for device in self.devices:  # without a word: the selector goes first, and paho would ask for it
            client = device.client
            client.on_socket_close = client.on_socket_register_write = client.on_socket_unregister_write = None
            if (sock := client.socket()) is not None:
                sock.close()
        self._selector.close()

    def join(self, most_s: float) -> None:
        """Connect, enrol and say that all are there; a few hundred at a time, as the ledger takes them."""
        for start in range(0, len(self.devices), AT_ONCE):
            some = self.devices[start : start + AT_ONCE]
            for device in some:
                device.client.connect("127.0.0.1", self._port, KEEPALIVE_S, clean_start=True)
            self._enrol(some, most_s)
        for device in self.devices:
            self._say_presence(device)

    def _enrol(self, some: Sequence[Wanderer], most_s: float) -> None:
        """Say the enrolments until their identities have come: again, as devices do, for whom nobody listened."""
        due = 0.0

        def all_belong() -> bool:
            nonlocal due
            strangers = [device for device in some if device.epoch is None]
            if time.monotonic() >= due:
                due = time.monotonic() + SAY_AGAIN_S
                for device in strangers:
                    topic = topics.up(self._plan.federation, device.name, Up.ENROL)
                    device.client.publish(topic, sealed_enrolment(parse(device.token), device.key, 1), 1)
            return not strangers

        self.until(lambda: all(device.listens for device in some), most_s, "subscriptions")
        self.until(all_belong, most_s, "identities")

    def until(self, is_so: Callable[[], bool], most_s: float, what: str, *, look_s: float = 0.02) -> None:
        """Drive all sockets until `is_so`, which is asked every `look_s`.

        Raises:
            Late: it is not so after `most_s` seconds.
        """
        until, due = time.monotonic() + most_s, 0.0
        while True:
            now = time.monotonic()
            if now >= due:
                due = now + look_s
                if is_so():
                    return
                if now > until:
                    raise Late(f"the crowd waited {most_s:g} s for {what}, in vain")
            self._turn(look_s)

    def invited(self, window: int) -> bool:
        """Whether every device has its invitation to this window."""
        return all(one.invitation is not None and one.invitation.window >= window for one in self.devices)

    def _turn(self, wait_s: float) -> None:
        for key, mask in self._selector.select(wait_s):
            client: mqtt.Client = key.data
            if mask & selectors.EVENT_READ:
                client.loop_read()
            if mask & selectors.EVENT_WRITE:
                client.loop_write()
        if (now := time.monotonic()) - self._looked > _MISC_S:
            self._looked = now
            for device in self.devices:
                if device.client.socket() is not None:
                    device.client.loop_misc()

    def _wanderer(self, token: str) -> Wanderer:
        right = parse(token)
        key = Key(hashlib.sha256(b"bench " + right.device.encode()).digest())
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=right.device, protocol=mqtt.MQTTv5)
        client.username_pw_set(right.device)
        device = Wanderer(right.device, key, token, client)
        self._hold(client)

        def connected(*_: object) -> None:
            client.subscribe(topics.every_to(right.federation, right.device), 1)

        def subscribed(*_: object) -> None:
            device.listens = True

        client.on_connect, client.on_subscribe = connected, subscribed
        client.on_message = lambda _c, _u, message: _hear(device, message)
        return device

    def _hold(self, client: mqtt.Client) -> None:
        """Let the selector know of the client's socket, and of whether it wants to write."""

        def opened(_client: mqtt.Client, _userdata: object, sock: Any) -> None:  # noqa: ANN401  # paho's socket-like
            self._selector.register(sock, selectors.EVENT_READ, client)

        def closed(_client: mqtt.Client, _userdata: object, sock: Any) -> None:  # noqa: ANN401  # as above
            self._selector.unregister(sock)

        client.on_socket_open, client.on_socket_close = opened, closed
        client.on_socket_register_write = lambda _c, _u, sock: self._watch(sock, client, writes=True)
        client.on_socket_unregister_write = lambda _c, _u, sock: self._watch(sock, client, writes=False)

    def _watch(self, sock: Any, client: mqtt.Client, *, writes: bool) -> None:  # noqa: ANN401  # paho's socket-like
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if writes else 0)
        self._selector.modify(sock, events, client)

    def _say_presence(self, device: Wanderer) -> None:
        presence = Presence(federation=self._plan.federation, device=device.name, online=True, examples=100)
        sealed = seal(presence, Purpose.PRESENCE, device.key, device.epoch or 0, device.signed())
        topic = topics.up(self._plan.federation, device.name, Up.PRESENCE)
        device.client.publish(topic, sealed, 1, retain=True)


def _hear(device: Wanderer, message: mqtt.MQTTMessage) -> None:
    """Take in what the gateway says; receipts are only kept, and verified when no clock runs any more."""
    envelope = unseal(bytes(message.payload))
    match envelope.purpose:
        case Purpose.IDENTITY:
            device.epoch = decode(envelope.header, Identity).epoch
        case Purpose.INVITATION:
            device.invitation = decode(envelope.header, Invitation)
        case Purpose.RECEIPT:
            device.receipts.append(bytes(message.payload))


def payloads(plan: Plan, count: int, start: int) -> Iterator[bytes]:
    """`count` different payloads that fit the bound exactly: the same random codes, turned by one byte each time."""
    grid, codec = grid_of(plan), codec_of(plan)
    codes = np.random.default_rng(5).integers(0, 2**grid.bits, grid.padded, dtype=np.uint8)
    body = packed(1, codes, grid.bits)[4:]
    update = codec.decode(packed(1, codes, grid.bits), grid)
    if not isinstance(update, Levels):
        raise TypeError("the crowd makes dense payloads: take the codec hadamard or drive")
    multiplier = fit(2**31, update.sum_of_squares, bound_of(plan)).to_bytes(4, "little")
    twice = body + body
    for index in range(start, start + count):
        turn = index % len(body)
        yield multiplier + twice[turn : turn + len(body)]


def updates(plan: Plan, devices: Sequence[Wanderer], start: int) -> list[tuple[Wanderer, bytes, bytes]]:
    """For each device its answer to its newest invitation, signed: the sealed header and the payload."""
    return [
        (device, _sealed(plan, device, body, start + index), body)
        for index, (device, body) in enumerate(zip(devices, payloads(plan, len(devices), start), strict=True))
    ]


def _sealed(plan: Plan, device: Wanderer, payload: bytes, index: int) -> bytes:
    invitation = device.invitation
    if invitation is None:
        raise Late(f"{device.name} was to answer an invitation and has none")
    update = Update(
        federation=plan.federation,
        device=device.name,
        window=invitation.window,
        base=invitation.base.digest,
        plan=plan.digest,
        nonce=hashlib.sha256(index.to_bytes(8, "big")).digest()[:16],
        payload=BlobRef(digest=hashlib.sha256(payload).digest(), size=len(payload)),
    )
    return seal(update, Purpose.UPDATE, device.key, device.epoch or 0, device.signed())


def send(plan: Plan, device: Wanderer, sealed: bytes, payload: bytes) -> None:
    """Publish an update, in as many parts as it takes."""
    topic = topics.up(plan.federation, device.name, Up.UPDATE)
    for part in parts.split(sealed, payload):
        device.client.publish(topic, part, 1)


def counted(device: Wanderer, receipt_key: bytes) -> int:
    """How many of the device's receipts are signed by the federation and say that an update counts, each id once."""
    found = set()
    for sealed in device.receipts:
        envelope = unseal(sealed)
        envelope.verify(receipt_key)
        receipt = decode(envelope.header, Receipt)
        if type(receipt.outcome).__name__ == "Counted":
            found.add(receipt.update)
    return len(found)
