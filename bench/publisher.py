"""The devices of the bench, all in one process, which is no part of what is measured.

    python -m bench.publisher ORDERS.json

Each device has a connection, a key and a name of its own. It trains nothing: its payloads were coded before the clock
started, and for an invitation it signs a header alone. Events are printed as JSON lines: `ready` once all but the last
device are there, so that no window has opened yet, and `done` with what came of it. SIGUSR1 lets the last device
come, and the clock starts.
"""

from __future__ import annotations

import json
import signal
import sqlite3
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from bench.lines import Lines
from bench.load import FEDERATION, Load, bodies, key_of, plan_of
from mizzle import manifest, parts, topics
from mizzle.codec import decode
from mizzle.device.belief import opened
from mizzle.envelope import Purpose, seal, unseal
from mizzle.errors import Unreadable
from mizzle.messages import BlobRef, Counted, Invitation, Presence, Receipt, Update
from mizzle.topics import Up

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.load import Body
    from mizzle.envelope import Key

GO: Final = signal.SIGUSR1
BODIES: Final = 16
"""So many different payloads are coded, and sent in turn; the updates differ in device, window and nonce as well."""

LEAD_BYTES: Final = 32 * 1024 * 1024
"""At most so much is sent that the ledger has not admitted yet: a broker drops what its queue has no room for."""

LONGEST_SILENCE_S: Final = 120.0


class Orders(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to publish, where to, and by which keys to believe what comes back."""

    load: Load
    host: str
    port: int
    ledger: str
    receipt_key: bytes
    release_key: bytes


@dataclass
class Fleet:
    """The devices, and what they have sent and been told."""

    load: Load
    lines: Lines
    ledger: sqlite3.Connection
    plan: bytes
    bodies: tuple[Body, ...]
    keys: dict[str, Key]
    waiting: deque[tuple[str, bytes]] = field(default_factory=deque)
    sent: dict[bytes, str] = field(default_factory=dict)
    receipts: dict[str, list[bytes]] = field(default_factory=dict)
    answered: int = 0
    releases: list[bytes] = field(default_factory=list)
    bytes_up: int = 0

    @property
    def is_done(self) -> bool:
        """Whether every update is answered, and every window's release published."""
        return self.answered >= self.load.updates and len(self.releases) >= self.load.windows

    def take(self) -> None:
        """Sort what was heard: an invitation waits for its turn, the rest is kept to be verified after the clock."""
        while self.lines.heard:
            device, topic, body = self.lines.heard.popleft()
            match topic.rpartition("/")[2]:
                case "invitation":
                    self.waiting.append((device, body))
                case "receipt":
                    self.receipts.setdefault(device, []).append(body)
                    self.answered += 1
                case "release":
                    self.releases.append(body)

    def send(self) -> None:
        """Send updates for invitations, as many as may be on the way at once."""
        if not self.waiting:
            return
        room = max(1, LEAD_BYTES // len(self.bodies[0].payload)) - (len(self.sent) - self._admitted())
        for _ in range(min(room, len(self.waiting))):
            device, body = self.waiting.popleft()
            self._update(device, decode(unseal(body).header, Invitation))

    def come(self, device: str) -> None:
        """Say that the device is there."""
        said = Presence(federation=FEDERATION, device=device, online=True, examples=1)
        body = seal(said, Purpose.PRESENCE, self.keys[device], epoch=0, counter=1)
        self.lines.publish(device, topics.up(FEDERATION, device, Up.PRESENCE), body, retain=True)

    def _update(self, device: str, invitation: Invitation) -> None:
        chosen = self.bodies[len(self.sent) % len(self.bodies)]
        update = Update(
            federation=FEDERATION,
            device=device,
            window=invitation.window,
            base=invitation.base.digest,
            plan=self.plan,
            nonce=len(self.sent).to_bytes(16, "big"),
            payload=BlobRef(digest=chosen.digest, size=len(chosen.payload)),
        )
        sealed = seal(update, Purpose.UPDATE, self.keys[device], invitation.epoch, counter=1 + invitation.window)
        self.sent[unseal(sealed).id] = device
        for part in parts.split(sealed, chosen.payload):
            self.lines.publish(device, topics.up(FEDERATION, device, Up.UPDATE), part)
            self.bytes_up += len(part)

    def _admitted(self) -> int:
        row = self.ledger.execute("SELECT count FROM deliveries WHERE kind = 'first'").fetchone()
        return int(row[0]) if row else 0


def counted(sent: dict[bytes, str], receipts: dict[str, list[bytes]], key: bytes) -> int:
    """How many of the updates that were sent have a receipt that `key` signed for their device and says `counted`."""
    found = set()
    for device, bodies_ in receipts.items():
        for receipt in _authentic(bodies_, key):
            ours = sent.get(receipt.update) == device == receipt.device
            if ours and isinstance(receipt.outcome, Counted):
                found.add(receipt.update)
    return len(found)


def _authentic(bodies_: Iterable[bytes], key: bytes) -> Iterable[Receipt]:
    for body in bodies_:
        try:
            yield opened(body, Purpose.RECEIPT, [key], Receipt)[1]
        except Unreadable as error:
            say(event="receipt", why=str(error))


def _version(event: bytes, key: bytes) -> int:
    return manifest.authentic(manifest.from_cloud_event(event), [key], FEDERATION).version


def say(**event: object) -> None:
    """One event for whoever watches this process."""
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def main(path: Path) -> None:
    """Be the devices of the orders in this file, until every update has its receipt."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [GO])
    orders = msgspec.json.decode(path.read_bytes(), type=Orders)
    fleet = _gathered(orders)
    say(event="ready")
    signal.sigwait([GO])
    began = time.monotonic()
    fleet.come(orders.load.devices[-1])
    _run(fleet)
    seconds = time.monotonic() - began
    versions = {_version(body, orders.release_key) for body in fleet.releases}
    receipts = counted(fleet.sent, fleet.receipts, orders.receipt_key)
    say(event="done", seconds=seconds, receipts=receipts, bytes_up=fleet.bytes_up, version=max(versions))


def _gathered(orders: Orders) -> Fleet:
    load = orders.load
    plan, _ = plan_of(load)
    ledger = sqlite3.connect(f"{Path(orders.ledger).resolve().as_uri()}?mode=ro", uri=True)
    keys = {device: key_of(device) for device in load.devices}
    fleet = Fleet(load, Lines(orders.host, orders.port), ledger, plan.digest, bodies(plan, BODIES), keys)
    for device in load.devices:
        public = [topics.release(FEDERATION)] if device == load.devices[0] else []
        fleet.lines.open(device, [topics.every_to(FEDERATION, device), *public])
        fleet.lines.turn(0)
    while not fleet.lines.is_open:
        fleet.lines.turn(1.0)
    for device in load.devices[:-1]:
        fleet.come(device)
    while fleet.lines.unacknowledged:
        fleet.lines.turn(1.0)
    return fleet


def _run(fleet: Fleet) -> None:
    heard = time.monotonic()
    while not fleet.is_done:
        fleet.lines.turn(0.02)
        if fleet.lines.heard or fleet.lines.unacknowledged:
            heard = time.monotonic()
        fleet.take()
        fleet.send()
        if time.monotonic() - heard > LONGEST_SILENCE_S:
            text = f"{fleet.answered} of {fleet.load.updates} updates are answered, and nothing comes any more"
            raise TimeoutError(f"{text} for {LONGEST_SILENCE_S} s: see the logs of the services")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
