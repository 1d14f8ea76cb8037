"""A device of a federation in one process: what a real one is, but for its disk, its threads and its clock."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from mizzle.device import enrol, session
from mizzle.device.effects import (
    Accept,
    Clear,
    Effect,
    Keep,
    Note,
    Open,
    Probe,
    Publish,
    Remember,
    Send,
    Subscribe,
    Train,
    Unsubscribe,
)
from mizzle.device.events import Event
from mizzle.device.outbox import Outbox
from mizzle.device.sender import Sender
from mizzle.device.states import Me
from mizzle.device.training import Done
from mizzle.envelope import Key
from mizzle.moves import Tick
from mizzle.transport.bus import BusEvent, Disconnected, Sent, Will
from mizzle.transport.memory import MemoryBroker, MemoryBus

_NUMBERS: Final = 2**32


class Device:
    """A device as its session has it; `do` does its tasks. Its key is a function of its name."""

    def __init__(self, token: str, broker: MemoryBroker, do: Callable[[Train], Done]) -> None:
        """The device that `token` is for, its line about to come up."""
        rights = enrol.parse(token)
        self._name, self._broker, self._do = rights.device, broker, do
        self.outbox = Outbox(Path(":memory:"))
        self._sender = Sender(rights.federation, rights.device, self.outbox, self._publish)
        self._inbox: deque[tuple[int, BusEvent]] = deque()
        self._bus: MemoryBus | None = None
        self._line = 0
        self.notes: list[str] = []
        me = Me(rights.federation, rights.device, Key(hashlib.sha256(rights.device.encode()).digest()))
        self.state, begun = session.begin(me, rights, self.outbox.reserve(_NUMBERS).start)
        self._perform_all(begun)

    def feel(self, tick: Tick) -> None:
        """Know what time it is."""
        self._move(tick)

    def hear(self) -> bool:
        """Take in what the line has brought, and say whether there was anything."""
        heard = bool(self._inbox)
        while self._inbox:
            line, event = self._inbox.popleft()
            if line != self._line:
                continue
            if isinstance(event, Disconnected):
                self._sender.forget()
            self._move(event)
            if isinstance(event, Sent):
                self._sender.sent(event)
        return heard

    def _move(self, event: Event) -> None:
        self.state, effects = session.step(self.state, event)
        self._perform_all(effects)

    def _perform_all(self, effects: tuple[Effect, ...]) -> None:
        for effect in effects:
            answer = self._perform(effect)
            if answer is not None:
                self._move(answer)

    def _perform(self, effect: Effect) -> Event | None:
        match effect:
            case Open(will=will):
                self._open(will)
            case Keep():
                return self.outbox.keep(effect.id, effect.window, effect.sealed, effect.payload, effect.lost)
            case Clear():
                return self.outbox.clear(effect.id, effect.receipt)
            case Remember(identity=identity):
                self.outbox.remember_identity(identity)
            case Accept(window=window, version=version):
                self.outbox.accept(window, version)
            case Train():
                return self._do(replace(effect, lost=self.outbox.lost)).end
            case Note(reason=reason):
                self.notes.append(reason)
            case Probe(id=update):
                self._sender.ask(update)
            case Subscribe() | Unsubscribe() | Publish() | Send():
                self._say(effect)
        return None

    def _say(self, effect: Subscribe | Unsubscribe | Publish | Send) -> None:
        if self._bus is None:
            return
        match effect:
            case Subscribe(topic_filter=topic_filter):
                self._bus.subscribe(topic_filter)
            case Unsubscribe(topic_filter=topic_filter):
                self._bus.unsubscribe(topic_filter)
            case Publish(topic=topic, body=body, retain=retain):
                self._bus.publish(topic, body, retain=retain)
            case Send(id=update, parts=wanted):
                self._sender.send(update, wanted)

    def _publish(self, topic: str, body: bytes) -> int:
        return self._bus.publish(topic, body, lasting=False) if self._bus else 0

    def _open(self, will: Will | None) -> None:
        self._line += 1
        self._sender.forget()
        if self._bus is not None:
            self._bus.close()
        self._bus = MemoryBus(self._broker, self._name, will=will)
        self._bus.open(partial(self._overhear, self._line))

    def _overhear(self, line: int, event: BusEvent) -> None:
        self._inbox.append((line, event))
