"""Devices' logs: what waits is genuine and has no receipt, and the counter is ahead of all that was signed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from .envelope import Sealed, is_payload, is_sealed_by, key_id, opened
from .evidence import Evidence
from .finding import Finding, update_named
from .ledger import Ledger
from .outbox import Outbox, Waiting
from .published import signed
from .rows import Device
from .updates import is_header

Numbers = Mapping[bytes, Mapping[int, set[bytes]]]


def judge(evidence: Evidence) -> Iterator[Finding]:
    """What is wrong with devices' logs, with their identities, and with what they signed under which number."""
    for device in evidence.ledger.devices:
        yield from _identity(evidence.ledger, device.identity, device, "the ledger")
    numbers = _numbers(evidence)
    for log in evidence.outboxes:
        yield from _of(evidence, log)
        yield from _counter(evidence, log, numbers)
    for key, used in numbers.items():
        yield from _twice(key, used)


def _of(evidence: Evidence, log: Outbox) -> Iterator[Finding]:
    for update in sorted(log.waiting_ids & log.receipt_ids):
        yield Finding("waiting-and-ended", update_named(update), f"{log.device} has its receipt, and it waits still.")
    for waiting in log.waiting:
        yield from _waiting(evidence.ledger, log, waiting)
    if log.forgotten and not log.misfits:
        said = f"By its own count it kept {log.forgotten} more updates than wait or were answered."
        yield Finding("outbox-forgot", log.device, said)
    for column in log.misfits:
        said = f"A row of {log.device}'s outbox has a value there that is not of the column's type."
        yield Finding("cell-of-another-type", column, said)
    identity = log.memory.get("identity")
    if isinstance(identity, bytes):
        yield from _own_identity(evidence.ledger, log, identity)


def _own_identity(ledger: Ledger, log: Outbox, identity: bytes) -> Iterator[Finding]:
    sealed = opened(identity)
    federation = str(sealed.message.get("federation")) if sealed else ""
    device = ledger.device_of.get((federation, log.device))
    if device is None:
        said = f"The identity in {log.device}'s outbox is of no federation that it is enrolled in."
        yield Finding("identity-forged", log.device, said)
    else:
        yield from _identity(ledger, identity, device, f"{log.device}'s outbox")


def _identity(ledger: Ledger, body: bytes, device: Device, where: str) -> Iterator[Finding]:
    sealed = opened(body)
    key = ledger.server_key_of.get((device.federation, "receipt"), b"")
    wanted = {"federation": device.federation, "device": device.device, "public_key": device.public_key}
    if sealed is not None and sealed.purpose == "identity" and is_sealed_by(sealed, key):
        wrong = [name for name, value in wanted.items() if sealed.message.get(name) != value]
    else:
        wrong = ["seal"]
    if wrong:
        said = f"The identity in {where} has another {' and '.join(wrong)} than it should."
        yield Finding("identity-forged", device.device, said)


def _waiting(ledger: Ledger, log: Outbox, waiting: Waiting) -> Iterator[Finding]:
    """What waits is the device's own, and where the ledger has it already it has the very same bytes."""
    sealed, keys = opened(waiting.sealed), [one.public_key for one in ledger.devices if one.device == log.device]
    if keys and (sealed is None or not any(is_header(sealed, waiting.id, key) for key in keys)):
        said = f"What waits in {log.device}'s outbox is not what it signed under this id."
        yield Finding("waiting-forged", update_named(waiting.id), said)
    elif sealed is not None and sealed.message.get("window") != waiting.window:
        said = f"{log.device}'s outbox files it under window {waiting.window}, and another one was signed."
        yield Finding("waiting-forged", update_named(waiting.id), said)
    elif sealed is not None and not is_payload(sealed, waiting.payload):
        said = f"{log.device}'s outbox keeps {len(waiting.payload)} bytes with it that are not the payload it signed."
        yield Finding("waiting-forged", update_named(waiting.id), said)
    row = ledger.update_of.get(waiting.id)
    if row is not None and row.sealed != waiting.sealed:
        said = f"{log.device}'s outbox and the ledger have different bytes of it."
        yield Finding("resend-differs", update_named(waiting.id), said)


def _counter(evidence: Evidence, log: Outbox, numbers: Numbers) -> Iterator[Finding]:
    counter = log.memory.get("counter")
    keys = [key_id(one.public_key) for one in evidence.ledger.devices if one.device == log.device]
    used = [number for key in keys for number in numbers.get(key, ())]
    if used and (not isinstance(counter, int) or counter <= max(used)):
        said = f"Its counter stands at {counter}, and {max(used)} was signed under."
        yield Finding("counter-passed", log.device, said)


def _envelopes(evidence: Evidence) -> Iterator[Sealed]:
    """All that devices are known to have sealed."""
    bodies = [row.sealed for row in evidence.ledger.updates]
    bodies += [one.sealed for log in evidence.outboxes for one in log.waiting]
    yield from (sealed for body in bodies if (sealed := opened(body)))
    yield from (said.sealed for said in signed(evidence))


def _numbers(evidence: Evidence) -> Numbers:
    """By key and number, the different texts that were signed; only devices promise a number once."""
    found: dict[bytes, dict[int, set[bytes]]] = defaultdict(lambda: defaultdict(set))
    keys = {key_id(one.public_key): one.public_key for one in evidence.ledger.devices}
    for sealed in _envelopes(evidence):
        if is_sealed_by(sealed, keys.get(sealed.key_id, b"")):
            found[sealed.key_id][sealed.counter].add(sealed.text)
    return found


def _twice(key: bytes, numbers: Mapping[int, set[bytes]]) -> Iterator[Finding]:
    for number, texts in sorted(numbers.items()):
        if len(texts) > 1:
            said = f"{len(texts)} messages were signed under number {number}."
            yield Finding("counter-twice", f"key {key.hex()}", said)
