"""What may be wrong with a device or its way to the federation: looked at from the device, changing nothing.

Its files are read, and a line of its own is opened with the device's rights, so a device that runs is not disturbed.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from shlex import quote
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec

from mizzle import findings, topics
from mizzle.codec import decode
from mizzle.device import belief
from mizzle.device.home import KEY, OUTBOX, PASSWORD
from mizzle.device.outbox import Outbox
from mizzle.envelope import Key, Purpose, unseal
from mizzle.errors import Misconfigured, Unreadable
from mizzle.findings import REFUSALS, Finding
from mizzle.messages import Identity, Receipt
from mizzle.topics import Up
from mizzle.transport.bus import Arrived, Connected, Disconnected, Sent
from mizzle.transport.clock import now
from mizzle.transport.listening import listening, user_in, without_user
from mizzle.transport.passwords import read as read_password

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from mizzle.transport.bus import BusEvent
    from mizzle.transport.listening import Listening

PATIENCE_S: Final = 5.0
SOMEBODY_ELSE: Final = "nobody-in-particular"
SEED_BYTES: Final = 32


def examine(
    home: Path,
    broker: str,
    clock: Callable[[], int] = now,
    patience_s: float = PATIENCE_S,
    password_file: Path | None = None,
) -> Iterator[Finding]:
    """What is found, one thing after the other; what makes the next pointless ends it.

    `clock` is the device's; broker and gateway may take `patience_s` for each of their answers. The broker is told the
    password in `password_file`, else the one that the home keeps, as the device itself tells it.

    Raises:
        Misconfigured: `broker` is no broker's address.
    """
    if not home.is_dir():
        yield Finding("home", f"there is no folder {home}: no device has run here", _enrol(home, broker))
        return
    key = _key(home, broker)
    yield from (_folder(home), key)
    if not (home / OUTBOX).exists():
        yield Finding("outbox", f"there is no {home / OUTBOX}: no device was enrolled here", _enrol(home, broker))
        return
    try:
        with Outbox(home / OUTBOX) as outbox:
            sealed, receipts, waiting = outbox.identity, outbox.receipts(), len(outbox.waiting())
    except Misconfigured as error:
        yield Finding("outbox", f"{error}; it is lost, so enrol as a new device", _anew(home, broker))
        return
    yield _outbox(home, waiting)
    identity = _identity(home, broker, sealed, key)
    if isinstance(identity, Finding):
        yield identity
        return
    yield Finding("identity", f"{identity.device} belongs to {identity.federation}, in epoch {identity.epoch}")
    if (named := user_in(broker)) and named != identity.device:
        yield _misnamed(home, broker, named, identity.device)
        return
    file = password_file or (home / PASSWORD if (home / PASSWORD).exists() else None)
    if file is not None and not (found := _password(home, file)).is_well:
        yield found
        return
    with listening(broker, identity.device, "doctor", read_password(file) if file else None) as line:
        yield from _on_the_way(Way(line, identity, home, broker, file, patience_s), receipts, clock)


def _on_the_way(way: Way, receipts: Sequence[bytes], clock: Callable[[], int]) -> Iterator[Finding]:
    yield (found := way.broker_found())
    if found.is_well:
        yield way.acl_found()
        yield from way.gateway_found(receipts[-1] if receipts else None, clock)


def _enrol(home: Path, broker: str) -> str:
    return f"mizzle device enrol TOKEN --broker {quote(broker)} --home {quote(str(home))}"


def _anew(home: Path, broker: str) -> str:
    """Beside it: a device that has enrolled keeps its name, so a new one begins in a home of its own."""
    return _enrol(home.with_name(f"{home.name}-new"), broker)


def _own(path: Path) -> str:
    """The command after which whoever asks may read what the device's files hold."""
    return f'sudo chown -R "$(id -u)" {quote(str(path))}'


def _folder(home: Path) -> Finding:
    if home.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        what = f"others may write in {home}: they could put another key or outbox there"
        return Finding("home", what, f"chmod 700 {quote(str(home))}")
    return Finding("home", f"{home} is written by its owner alone")


def _key(home: Path, broker: str) -> Finding:
    path = home / KEY
    enrol = _anew(home, broker) if (home / OUTBOX).exists() else _enrol(home, broker)
    if not path.exists():
        return Finding("key", f"there is no {path}: this device cannot sign", enrol)
    if not (found := findings.private("key", quote(str(path)), path.stat().st_mode)).is_well:
        return found
    try:
        size = len(path.read_bytes())
    except OSError as error:
        return Finding("key", f"{path} cannot be read: {error.strerror}", _own(home))
    what = f"a key is {SEED_BYTES} bytes, {path} has {size}: put the old one back, or enrol as a new device"
    return found if size == SEED_BYTES else Finding("key", what, _anew(home, broker))


def _password(home: Path, file: Path) -> Finding:
    """Whether the file holds a password; in the home the device takes it only if nobody else can read it."""
    if file == home / PASSWORD:
        found = findings.private("password", quote(str(file)), file.stat().st_mode)
        if not found.is_well:
            return found
    try:
        read_password(file)
    except Misconfigured as error:
        return Finding("password", str(error), _own(file))
    return Finding("password", f"{file} holds one")


def _misnamed(home: Path, broker: str, named: str, device: str) -> Finding:
    what = f"the address names {named}, and this is {device}: under another name nothing that it says is taken"
    plain = quote(without_user(broker))
    return Finding("broker", what, f"mizzle doctor --broker {plain} --home {quote(str(home))}")


def _outbox(home: Path, waiting: int) -> Finding:
    """Whether nobody else can read the updates in it, which have no noise yet: by its own mode, or its folder's."""
    path = home / OUTBOX
    is_shut = not home.stat().st_mode & (stat.S_IXGRP | stat.S_IXOTH)
    found = findings.private("outbox", quote(str(path)), 0o600 if is_shut else path.stat().st_mode)
    return found if not found.is_well else Finding("outbox", f"{waiting} updates wait in {path} for their receipts")


def _identity(home: Path, broker: str, sealed: bytes | None, key: Finding) -> Identity | Finding:
    """The identity that the device remembers, if the federation that it names signed it for the key that lies here."""
    if sealed is None:
        return Finding("identity", "this device is not enrolled", _enrol(home, broker))
    try:
        claimed = decode(unseal(sealed).header, Identity)
        _, identity = belief.opened(sealed, Purpose.IDENTITY, belief.receipt_keys(claimed), Identity)
    except Unreadable as error:
        return Finding("identity", f"what is kept as its identity is none: {error}", _enrol(home, broker))
    if key.is_well and Key((home / KEY).read_bytes()).public_key != identity.public_key:
        what = f"it is of another key than {home / KEY}: put the old one back, or enrol in an empty home"
        return Finding("identity", what, _anew(home, broker))
    return identity


def _reach(broker: str) -> str:
    place = urlsplit(broker)
    return findings.reach(place.hostname or "", place.port or 0)


@dataclass(frozen=True)
class Way:
    """The way from a device to its federation: the broker, its rules, and the gateway behind it."""

    line: Listening
    identity: Identity
    home: Path
    broker: str
    password_file: Path | None
    patience_s: float

    def broker_found(self) -> Finding:
        """Whether the broker answers, and speaks MQTT 5."""
        self.line.bus.subscribe(topics.state(self.identity.federation))
        first = self.line.until(lambda event: isinstance(event, Connected | Disconnected), self.patience_s)
        if isinstance(first, Connected):
            return Finding("broker", f"{self.broker} takes MQTT 5 from {self.identity.device}")
        why = first.why if isinstance(first, Disconnected) else f"no answer within {self.patience_s:g} s"
        what = f"{self.broker} does not take MQTT 5 from {self.identity.device}: {why}"
        if not any(refusal in why for refusal in REFUSALS):
            return Finding("broker", what, _reach(self.broker))
        said = (
            f"the password in {self.password_file} is not the one it knows" if self.password_file else "none was said"
        )
        return Finding("broker", f"{what}: {said}; enrol as a new device", _anew(self.home, self.broker))

    def acl_found(self) -> Finding:
        """Ask, under another name, a question that no gateway answers, and see whether the broker lets us."""
        topic = topics.up(self.identity.federation, SOMEBODY_ELSE, Up.PROBE)
        number = self.line.bus.publish(topic, b"")
        sent = self.line.until(lambda event: isinstance(event, Sent) and event.mid == number, self.patience_s)
        url = quote(f"{self.broker}/{topic}")
        said = f' -P "$(cat {quote(str(self.password_file))})"' if self.password_file else ""
        show = f"mosquitto_pub -V 5 -L {url} -u {self.identity.device}{said} -q 1 -n -d"
        return findings.denied(sent.reason if isinstance(sent, Sent) else None, SOMEBODY_ELSE, show)

    def gateway_found(self, receipt: bytes | None, clock: Callable[[], int]) -> Iterator[Finding]:
        """Whether the gateway is there, and our clock goes as its own, or as the newest receipt's at least."""
        federation = self.identity.federation
        event = self.line.until(self._is_online, self.patience_s)
        if isinstance(event, Arrived):
            ours, theirs = clock(), _online_at(event)
            yield Finding("gateway", f"the gateway of {federation} is there, and heard")
            yield findings.clock(ours, theirs, "the gateway's")
            return
        what = f"no gateway of {federation} says that it is there: updates wait, and its operator has a doctor too"
        tap = f"mizzle tap {federation} --broker {quote(self.broker)} --home {quote(str(self.home))}"
        yield Finding("gateway", what, tap)
        if receipt is not None:
            yield findings.signed_later(clock(), decode(unseal(receipt).header, Receipt).at)

    def _is_online(self, event: BusEvent) -> bool:
        """Whether a gateway is online now; what is retained says nothing of now."""
        if not isinstance(event, Arrived) or event.topic != topics.state(self.identity.federation):
            return False
        return not event.retained and _online_at(event) > 0


def _online_at(event: Arrived) -> int:
    """The instant at which the gateway says that it is online; 0 if it says something else."""
    try:
        said = msgspec.json.decode(event.body, type=dict[str, Any])
    except msgspec.MsgspecError:
        return 0
    at = said.get("at")
    return at if said.get("state") == "online" and isinstance(at, int) else 0
