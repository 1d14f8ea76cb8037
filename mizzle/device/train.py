"""The device as its owner sees it: fifteen lines around a training loop.

device = mizzle.Device.from_env()

@device.train
def train(task):
    ...
    return {"weight": weight}        # or a torch module; to say no: raise mizzle.Decline("battery")

device.run()
"""

from __future__ import annotations

import logging
import signal
import threading
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, TypeVar

from mizzle import failpoints
from mizzle.codec import decode
from mizzle.device import enrol
from mizzle.device.effects import Train
from mizzle.device.environment import ENVIRONMENT, environment
from mizzle.device.events import Declined
from mizzle.device.home import OUTBOX, claimed, keep_password, kept_password, signing_key
from mizzle.device.life import Connect, Life
from mizzle.device.outbox import Outbox
from mizzle.device.states import Me, Member
from mizzle.device.task import Decline, Task
from mizzle.device.training import Done, Encode, OnTrained, Trainer, TrainFunction, encoded
from mizzle.envelope import unseal
from mizzle.errors import Away, Misconfigured
from mizzle.messages import Identity
from mizzle.transport.bus import Bus, Will
from mizzle.transport.clock import now
from mizzle.transport.mqtt_bus import MqttBus
from mizzle.transport.passwords import broker_password

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mizzle.device.enrol import Token
    from mizzle.envelope import Key

__all__ = ["ENVIRONMENT", "MADE", "Decline", "Device", "Task", "environment"]

MADE: Final[ContextVar[Callable[[Device], None] | None]] = ContextVar("MADE", default=None)
"""Called with each device that `from_env` makes in this context: so whoever runs many in one process gets them."""

F = TypeVar("F", bound=TrainFunction)


class Device:
    """A device of a federation: it trains when it is invited, and keeps every update until its receipt has come.

    `broker` is `mqtt://host:port`; `home` a folder of its own, for its key, outbox and broker password. `token` is
    wanted until the device belongs, `name` is only checked, `seed` makes its shuffling repeat. A test fleet replaces
    attributes: `encode` makes a payload of what was learned, `on_trained` is called between training and sealing,
    `connect` makes the line, with `password`, which is known from `run` or `enrol` on.
    """

    def __init__(
        self, broker: str, home: Path, *, token: str | None = None, name: str | None = None, seed: int | None = None
    ) -> None:
        self.broker, self.home, self.name, self.seed = broker, home, name, seed
        self.token = enrol.parse(token) if token else None
        self.encode: Encode = encoded
        self.on_trained: OnTrained = _nothing
        self.connect: Connect = self._over_mqtt
        self._function: TrainFunction | None = None
        self._stopping = threading.Event()
        self.password: str | None = None

    @classmethod
    def from_env(cls) -> Self:
        """The device that MIZZLE_BROKER, MIZZLE_HOME, MIZZLE_TOKEN, MIZZLE_DEVICE and MIZZLE_SEED describe.

        A broker that gives out passwords of its own has this device's in the file MIZZLE_BROKER_PASSWORD_FILE.

        Raises:
            Misconfigured: one that is wanted is not set, or is not what it should be.
        """
        given = environment()
        device = cls(
            _wanted("MIZZLE_BROKER", "the broker's address, mqtt://HOST:PORT"),
            Path(_wanted("MIZZLE_HOME", "a folder for this device's key and outbox")).expanduser(),
            token=given.get("MIZZLE_TOKEN"),
            name=given.get("MIZZLE_DEVICE"),
            seed=_whole("MIZZLE_SEED", given.get("MIZZLE_SEED")),
        )
        if made := MADE.get():
            made(device)
        return device

    def train(self, function: F) -> F:
        """Let `function` do this device's tasks; to be used as a decorator."""
        self._function = function
        return function

    def run(self) -> None:
        """Take part until `stop`, or until SIGTERM or SIGINT where this is the main thread.

        There it also says on stderr what it does, unless the program has set up logging of its own.

        Raises:
            Misconfigured: no training function, no token for a device that does not belong, or a home that is not ours.
        """
        if self._function is None:
            raise Misconfigured("a device wants a training function: put @device.train above it")
        if (
            threading.current_thread() is threading.main_thread()
        ):  # a program of its own; does nothing if it logs already
            logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
        with self._life(self._trainer(self._function)) as life, self._until_signalled():
            life.live(self._stopping.is_set)

    def enrol(self, timeout_s: float) -> Identity:
        """Belong: say the enrolment until the identity comes; at once if it came before.

        Raises:
            Away: it did not come within `timeout_s`; the text says what was heard last.
            Misconfigured: as `run`.
        """
        until = now() + round(timeout_s * 1000)
        with self._life(_declines) as life, self._until_signalled():
            life.live(lambda: isinstance(life.state.belonging, Member) or now() > until or self._stopping.is_set())
            if isinstance(life.state.belonging, Member):
                return life.state.belonging.identity
            heard = life.last_note or "the broker took the enrolment, and nobody answered"
            raise Away(f"no identity for {life.state.me.device} came within {timeout_s:g} s; last heard: {heard}")

    def stop(self) -> None:
        """Let `run` say goodbye and return, within about a second; from any thread."""
        self._stopping.set()

    def _trainer(self, function: TrainFunction) -> Callable[[Train], Done]:
        """What does a task, as it is set when the task comes."""

        def do(order: Train) -> Done:
            name = order.invitation.device
            return Trainer(name, function, self.seed, self.encode, self.on_trained).do(order)

        return do

    @contextmanager
    def _life(self, do: Callable[[Train], Done]) -> Iterator[Life]:
        failpoints.arm()
        with claimed(self.home), Outbox(self.home / OUTBOX) as outbox:
            key = signing_key(self.home)
            rights = self._rights(outbox, key)
            self.password = self._kept_password(rights)
            yield Life(Me(rights.federation, rights.device, key), rights, outbox, self.connect, do)

    def _rights(self, outbox: Outbox, key: Key) -> Token | Identity:
        """The identity that the outbox remembers, else the token."""
        rights = _identity(outbox, key, self.home) or self.token
        if rights is None:
            raise Misconfigured(
                f"MIZZLE_TOKEN is the one-time token of a device that is not enrolled; {self.home} holds no identity"
            )
        for named, wanted in ((self.name, "MIZZLE_DEVICE"), (self.token and self.token.device, "MIZZLE_TOKEN")):
            if named and named != rights.device:
                raise Misconfigured(
                    f"{wanted} names {named}; {self.home} is the home of {rights.device}: give each device its own"
                )
        return rights

    def _kept_password(self, rights: Token | Identity) -> str | None:
        """The password for the broker: of a file, if one is named; else of the token, kept from the first start on."""
        if (given := broker_password(environment())) is not None:
            return given
        if self.token and (rights is self.token or kept_password(self.home) is None):
            keep_password(self.home, enrol.broker_password(self.token.secret))
        return kept_password(self.home)

    def _over_mqtt(self, device: str, will: Will | None) -> Bus:
        return MqttBus(self.broker, device, password=self.password, will=will)

    @contextmanager
    def _until_signalled(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():  # only the main thread may hear signals
            yield
            return
        before = {number: signal.signal(number, lambda *_: self.stop()) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, how in before.items():
                signal.signal(number, how)


def _identity(outbox: Outbox, key: Key, home: Path) -> Identity | None:
    """The identity that was verified before it was kept."""
    sealed = outbox.identity
    if sealed is None:
        return None
    identity = decode(unseal(sealed).header, Identity)
    if identity.public_key != key.public_key:
        raise Misconfigured(
            f"{home} holds the identity of another key than its own: restore its key, or enrol in an empty home"
        )
    return identity


def _wanted(name: str, what: str) -> str:
    if value := environment().get(name):
        return value
    raise Misconfigured(f"{name} is {what}; it is not set")


def _whole(name: str, value: str | None) -> int | None:
    if not value:
        return None
    if not value.isdecimal():
        raise Misconfigured(f"{name} is a whole number, at least 0; got {value!r}")
    return int(value)


def _nothing(_invitation: object) -> None:
    """Nothing is done between training and sealing."""


def _declines(order: Train) -> Done:
    """A device that is only being enrolled trains nothing."""
    return Done(Declined(order.invitation.window, "enrolling"))
