"""An auditor that rebuilds every release from the ledger and the kept payloads, bit for bit, by the library alone.

From a checkout: `python -m examples.replay LEDGER PAYLOADS AUDITOR_KEY [--json]`. The ledger is its SQLite file; a
payload lies below the folder PAYLOADS as `kept/ID` or `ID[:2]/ID`, its update's id in hexadecimal; the auditor's key
is an X25519 private key in hexadecimal, which opens the noise keys. One line a release. Exit status: 0 if all are the
same, 9 at the first that is not, with the reason; 2 if the key is none, 4 if a file is missing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sqlite3
import sys
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, SealedBox

from mizzle.codec import decode
from mizzle.envelope import unseal
from mizzle.errors import MizzleError
from mizzle.grid import GAIN, Sparse, add, add_sparse, fits, rotate_back
from mizzle.messages import Update, Window
from mizzle.model import filled, flat
from mizzle.payload import read
from mizzle.plan import from_canonical
from mizzle.terms import bound_of, grid_of, mechanism_of
from mizzle.vocabulary import FULL_WEIGHT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mizzle.grid import Integers, Vector
    from mizzle.plan import Plan

OK, USAGE, NOT_FOUND, NOT_THE_SAME = 0, 2, 4, 9

_KEY_BYTES: Final = 32


class Different(Exception):
    """What was rebuilt is not what was released; the text says where they part."""


@dataclass(frozen=True)
class Rebuilt:
    """A release that came out the same, by what it is."""

    version: int
    window: int
    members: int
    total: str
    model: str


@dataclass(frozen=True)
class Release:
    """A release as the ledger has it: the columns of `releases` that its rebuilding takes."""

    version: int
    window: int
    base_digest: bytes
    model_digest: bytes
    total_digest: bytes
    noise_key: bytes
    sigma: int
    members: int


@dataclass(frozen=True)
class Member:
    """An update that is counted in a release, and what its device signed of it."""

    id: bytes
    update: Update
    weight: int


@dataclass(frozen=True)
class Records:
    """What the auditor was handed: an open ledger, a folder of payloads, and the key to the noise."""

    ledger: sqlite3.Connection
    payloads: Path
    key: PrivateKey

    def plan(self) -> Plan:
        """The federation's plan."""
        return from_canonical(self.ledger.execute("SELECT plan FROM federations").fetchone()[0])

    def releases(self) -> list[Release]:
        """Every release, oldest first."""
        query = (
            'SELECT version, "window", base_digest, model_digest, total_digest, noise_key, sigma, members'
            " FROM releases ORDER BY version"
        )
        return [Release(*row) for row in self.ledger.execute(query)]

    def members(self, version: int) -> list[Member]:
        """The updates that are counted in a release."""
        query = "SELECT id, sealed, weight FROM updates WHERE outcome = 'counted' AND version = ?"
        return [
            Member(name, _signed(name, sealed), weight)
            for name, sealed, weight in self.ledger.execute(query, (version,))
        ]

    def seed(self, number: int) -> bytes:
        """The rotation of a window."""
        row = self.ledger.execute("SELECT body FROM windows WHERE number = ?", (number,)).fetchone()
        if row is None:
            raise Different(f"window {number}, which a member names, is not in the ledger")
        return decode(row[0], Window).seed

    def blob(self, digest: bytes, what: str) -> bytes:
        """The bytes that a digest names."""
        row = self.ledger.execute("SELECT body FROM blobs WHERE digest = ?", (digest,)).fetchone()
        if row is None or _sha256(row[0]) != digest:
            raise Different(f"the {what} {digest.hex()[:12]} is not in the ledger, or its bytes are others")
        return bytes(row[0])

    def payload(self, member: Member) -> bytes:
        """The payload of a member, if it is the one that its device signed."""
        name = member.id.hex()
        found = [path for path in (self.payloads / "kept" / name, self.payloads / name[:2] / name) if path.is_file()]
        if not found:
            raise Different(f"the payload of update {name[:12]} was not kept")
        payload = found[0].read_bytes()
        if _sha256(payload) != member.update.payload.digest:
            raise Different(f"the payload of update {name[:12]} is not the one that its device signed")
        return payload


def rebuilt(records: Records) -> Iterator[Rebuilt]:
    """Every release of the ledger, rebuilt from the first on.

    Raises:
        Different: one is not the same; none after it is looked at.
    """
    plan = records.plan()
    model, velocity = plan.model.digest, np.zeros(plan.model.parameters)
    for release in records.releases():
        try:
            _refuse_another_base(release, model)
            total = noised_sum(records, plan, release)
            velocity = stepped(plan, velocity, mean(plan, total))
            _refuse_another_model(records, release, velocity)
        except (Different, MizzleError) as error:
            raise Different(f"release {release.version} (window {release.window}): {error}") from error
        model = release.model_digest
        yield Rebuilt(release.version, release.window, release.members, release.total_digest.hex(), model.hex())


def noised_sum(records: Records, plan: Plan, release: Release) -> Integers:
    """Σ w·m·q of a release's members, rotated back, and its noise (d,); byte for byte the released one.

    Raises:
        Different: it is not, or a part of it is missing or unfit.
    """
    total = integer_sum(records, plan, release) + noise(records, plan, release)
    released = np.frombuffer(records.blob(release.total_digest, "noised sum"), "<i8")
    if total.astype("<i8").tobytes() == released.tobytes():
        return total
    if total.shape != released.shape:
        raise Different(f"the sum has {total.size} coordinates, the released one {released.size}")
    where = int(np.flatnonzero(total != released)[0])
    raise Different(f"coordinate {where} of the noised sum is {total[where]}, released was {released[where]}")


def integer_sum(records: Records, plan: Plan, release: Release) -> Integers:
    """Σ w·m·q of a release's members (d,), 64 times as large; each window's updates lie in its own rotation."""
    grid, bound = grid_of(plan), bound_of(plan)
    members = records.members(release.version)
    if len(members) != release.members:
        text = f"it has {release.members} members, the ledger counts {len(members)} in it"
        raise Different(f"{text}; of one whose members were cleaned up since, replay an older backup")
    total: Integers = np.zeros(grid.size, np.int64)
    turned: dict[int, Integers] = {}
    for member in members:
        update = read(records.payload(member), plan)
        if not fits(update.multiplier, update.sum_of_squares, bound):
            raise Different(f"update {member.id.hex()[:12]} is longer than the bound {bound}")
        if isinstance(update, Sparse):
            add_sparse(total, update, member.weight)
        else:
            add(turned.setdefault(member.update.window, np.zeros(grid.padded, np.int64)), update, member.weight)
    for number, part in turned.items():
        total += rotate_back(grid, part, records.seed(number))
    return total


def noise(records: Records, plan: Plan, release: Release) -> Integers:
    """The noise of a release (d,), drawn again from its key."""
    if not release.noise_key:
        raise Different("its noise cannot be drawn again: the plan names no auditor, so no noise key was kept")
    try:
        key = SealedBox(records.key).decrypt(release.noise_key)
    except CryptoError as error:
        raise Different("its noise key was sealed for another auditor, or damaged") from error
    if len(key) != _KEY_BYTES:
        raise Different(f"its noise key has {len(key)} bytes instead of {_KEY_BYTES}")
    return mechanism_of(plan).noise(key, GAIN * release.sigma, plan.model.parameters)


def mean(plan: Plan, total: Integers) -> Vector:
    """The mean change (d,): the sum in floats, by the constant 64·goal·64 of the plan."""
    return total * grid_of(plan).unit / (GAIN * plan.window.goal * FULL_WEIGHT)


def stepped(plan: Plan, velocity: Vector, change: Vector) -> Vector:
    """What is remembered and added to the model: the mean change, or with momentum β·v + it."""
    strategy = plan.combine.strategy
    match strategy.name:
        case "fedavg":
            return change
        case "momentum" if strategy.fields.keys() == {"beta"}:
            return float(str(strategy.fields["beta"])) * velocity + change
        case _:
            raise Different(
                f"the strategy {strategy.name!r} cannot be replayed; fedavg, and momentum with a beta alone, can"
            )


def _signed(name: bytes, sealed: bytes) -> Update:
    envelope = unseal(sealed)
    if envelope.id != name:
        raise Different(f"update {name.hex()[:12]} is not named by what its device signed")
    return decode(envelope.header, Update)


def _refuse_another_base(release: Release, model: bytes) -> None:
    if release.base_digest != model:
        raise Different(f"it was made from model {release.base_digest.hex()[:12]}, not from {model.hex()[:12]}")


def _refuse_another_model(records: Records, release: Release, step: Vector) -> None:
    base = records.blob(release.base_digest, "base model")
    ours = filled(base, flat(base) + step)
    if _sha256(ours) == release.model_digest:
        return
    theirs = records.blob(release.model_digest, "model")
    where = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))
    raise Different(f"the models part at byte {where} of {len(theirs)}")


def _sha256(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()


def main(argv: list[str]) -> int:
    """Rebuild what the command line names, print a line a release, and give the exit status."""
    asked = _asked(argv)
    if missing := [path for path in (asked.ledger, asked.payloads, asked.auditor_key) if not path.exists()]:
        print(f"{missing[0]} is not there: name the ledger, the folder of payloads, the key file", file=sys.stderr)
        return NOT_FOUND
    try:
        key = PrivateKey(bytes.fromhex(asked.auditor_key.read_text()))
    except (ValueError, TypeError) as error:
        print(f"{asked.auditor_key} is to hold an X25519 private key, 64 hexadecimal digits: {error}", file=sys.stderr)
        return USAGE
    try:
        with closing(sqlite3.connect(f"{asked.ledger.resolve().as_uri()}?mode=ro", uri=True)) as ledger:
            count = _printed(Records(ledger, asked.payloads, key), as_json=asked.json)
    except (Different, sqlite3.Error) as different:
        print(f"NOT THE SAME: {different}", file=sys.stderr)
        return NOT_THE_SAME
    print(f"{count} releases rebuilt, every one bit for bit", file=sys.stderr if asked.json else sys.stdout)
    return OK


def _asked(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.replay", description="Rebuild every release bit for bit.")
    for name in ("ledger", "payloads", "auditor_key"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--json", action="store_true", help="print one JSON object a release")
    return parser.parse_args(argv)


def _printed(records: Records, *, as_json: bool) -> int:
    count = 0
    for count, release in enumerate(rebuilt(records), start=1):  # noqa: B007  # how many there were
        line = f"release {release.version}: window {release.window}, {release.members} members, the same bit for bit"
        print(json.dumps(asdict(release)) if as_json else line, flush=True)
    return count


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
