"""A device's life: what happens is told to its session, one thing at a time, and what the session asks for is done.

One thread lives it. The bus and the task have threads of their own and only put what happens into the inbox, so
receipts come in and presence goes out while a task is being done.
"""

from __future__ import annotations

import contextvars
import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

from mizzle.device import diary, senses
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
from mizzle.device.events import Condition, Declined, Event, Stop
from mizzle.device.sender import Sender
from mizzle.device.session import begin, step
from mizzle.device.training import Done
from mizzle.errors import Away
from mizzle.moves import Tick
from mizzle.transport import clock
from mizzle.transport.bus import Bus, BusEvent, Disconnected, Sent, Will

if TYPE_CHECKING:
    from mizzle.device.enrol import Token
    from mizzle.device.outbox import Outbox
    from mizzle.device.states import Me
    from mizzle.messages import Identity

Connect = Callable[[str, Will | None], Bus]
"""Makes a line for a device of this name with this last will."""

_TICK_S: Final = 0.2
_SENSE_EVERY_MS: Final = 60_000
_MOST_UNHEARD: Final = 1024
_BLOCK, _SPARE = 256, 16  # numbers reserved at a time; fewer than these many are used in a step

_log = logging.getLogger(__name__)


def _in_a_thread(task: Callable[[], None], name: str) -> None:
    threading.Thread(target=task, name=name, daemon=True).start()


@dataclass(frozen=True)
class Surroundings:
    """What a life takes from the machine: time, and chance with it; what it senses; and how a task is done beside it.

    `sensed` is given how many examples there are; `beside` the task and a name for it.
    """

    tick: Callable[[], Tick] = clock.steady_tick
    sensed: Callable[[int], Condition] = senses.sensed
    beside: Callable[[Callable[[], None], str], None] = _in_a_thread


@dataclass(frozen=True)
class _Heard:
    line: int
    event: BusEvent


class Life:
    """A life of the device `me`, from now until it is over; `state` is the session as it is."""

    def __init__(  # noqa: PLR0913  # who it is, what it has, and what it is given
        self,
        me: Me,
        rights: Token | Identity,
        outbox: Outbox,
        connect: Connect,
        do: Callable[[Train], Done],
        *,
        surroundings: Surroundings = Surroundings(),
    ) -> None:
        self._me, self._outbox, self._connect, self._do = me, outbox, connect, do
        self._surroundings = surroundings
        self._inbox: queue.Queue[_Heard | Done] = queue.Queue(_MOST_UNHEARD)
        self._bus: Bus | None = None
        self._line = 0
        self._sender = Sender(me.federation, me.device, outbox, self._publish)
        self._examples = 0
        self._sensed = 0
        self.last_note = ""
        numbers = outbox.reserve(_BLOCK)
        self._reserved = numbers.stop
        self.state, self._begun = begin(me, rights, numbers.start, outbox.newest, outbox.waiting())

    def live(self, is_over: Callable[[], bool]) -> None:
        """Live until `is_over`, which is asked several times a second; then say goodbye."""
        try:
            self.wake()
            while not is_over():
                self.turn(_TICK_S)
            self._take(Stop())
        finally:
            self._line += 1
            if self._bus is not None:
                self._bus.close()

    def wake(self) -> None:
        """Open the line."""
        self._perform_all(self._begun)

    def turn(self, wait_s: float) -> None:
        """Take the next thing that has happened; or, if nothing does for so long, only see what the time is."""
        try:
            happened = self._inbox.get(timeout=wait_s)
        except queue.Empty:
            self._take(None)
            return
        match happened:
            case Done(end=end, examples=examples):
                self._examples = self._examples if examples is None else examples
                self._take(self._surroundings.sensed(self._examples))
                self._take(end)
            case _Heard(line=line, event=event) if line == self._line:
                self._hear(event)

    def _hear(self, event: BusEvent) -> None:
        if isinstance(event, Disconnected):
            self._sender.forget()
        self._take(event)
        if isinstance(event, Sent):
            self._sender.sent(event)

    def _take(self, event: Event | None) -> None:
        """Let the session know the time, and then what happened."""
        if not self._has_numbers():
            return
        moment = self._surroundings.tick()
        self._move(moment)
        if moment.now - self._sensed >= _SENSE_EVERY_MS:
            self._sensed = moment.now
            self._move(self._surroundings.sensed(self._examples))
        if event is not None:
            self._move(event)

    def _move(self, event: Event) -> None:
        self.state, effects = step(self.state, event)
        self._perform_all(effects)

    def _perform_all(self, effects: tuple[Effect, ...]) -> None:
        for effect in effects:
            if (said := diary.line(effect)) is not None:
                _log.info("%s %s", self._me.device, said)
            try:
                answer = self._perform(effect)
            except Away as error:
                _log.error("%s was not done: %s", type(effect).__name__, error)
            else:
                if answer is not None:
                    self._move(answer)

    def _perform(self, effect: Effect) -> Event | None:
        match effect:
            case Open(will=will):
                self._open(will)
            case Keep():
                return self._outbox.keep(effect.id, effect.window, effect.sealed, effect.payload, effect.lost)
            case Clear():
                return self._outbox.clear(effect.id, effect.receipt)
            case Remember(identity=identity):
                self._outbox.remember_identity(identity)
            case Accept(window=window, version=version):
                self._outbox.accept(window, version)
            case Train():
                return self._begin(replace(effect, lost=self._outbox.lost))
            case Note(reason=reason):
                self.last_note = reason
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
        self._bus = self._connect(self._me.device, will)
        self._bus.open(partial(self._overhear, self._line))

    def _overhear(self, line: int, event: BusEvent) -> None:
        """Put into the inbox what a line says, as long as it is the line we have; called by the bus's thread."""
        while line == self._line:
            try:
                self._inbox.put(_Heard(line, event), timeout=_TICK_S)
            except queue.Full:  # the bus does not read on meanwhile: its socket fills up, and the broker waits
                continue
            return

    def _begin(self, order: Train) -> Declined | None:
        """Have a task done; at once declined where what comes of it could not be kept."""
        if self._outbox.lacks_room(order.invitation.base.size):  # as long as a payload may be
            _log.error("nothing is trained: the outbox's disk is full; free some space on it")
            return Declined(order.invitation.window, "outbox-full")
        context = contextvars.copy_context()
        name = f"train-{self._me.device}"
        self._surroundings.beside(lambda: self._inbox.put(context.run(self._do, order)), name)
        return None

    def _has_numbers(self) -> bool:
        """Whether enough numbers are reserved for a step; on a full disk the last block lasts for a while."""
        if self._reserved - self.state.counter < _BLOCK // 2:
            try:
                self._reserved = self._outbox.reserve(_BLOCK).stop
            except Away as error:
                _log.error("no numbers can be reserved to sign under: %s", error)
        return self._reserved - self.state.counter >= _SPARE
