"""A small federation's honest books, written without any service: ledger, outboxes, kept payloads, an auditor's key.

Four windows of wrists a and b, each released. Wrists c and d were invited to the first and come back in the third,
where their updates are folded; wrist h sends one that is too long to the second and is refused.
"""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from nacl.public import PrivateKey, SealedBox
from safetensors.numpy import save
from sqlalchemy import Table, create_engine, insert

from mizzle.accounting import epsilon
from mizzle.codec import encode
from mizzle.device.outbox import Outbox
from mizzle.envelope import Key, Purpose, seal, unseal
from mizzle.grid import Integers, Levels, add, rotate_back
from mizzle.manifest import Manifest, ModelFile, Privacy, moment, sign
from mizzle.messages import BlobRef, Counted, ModelRef, Outcome, Receipt, Refused, Update, Window
from mizzle.model import filled, flat
from mizzle.plan import Plan, from_toml
from mizzle.terms import bound_of, codec_of, grid_of, mechanism_of
from services.ledger import tables

AUDITOR: Final = PrivateKey(bytes(range(32)))
RECEIPT_KEY, RELEASE_KEY = Key(b"r" * 32), Key(b"m" * 32)
FOLDED: Final = 36  # ⌊64/√3⌋: two windows late
WINDOWS: Final = (1, 2, 3, 4)
STORY: Final = (
    *(("a", n, n, 64) for n in WINDOWS),
    *(("b", n, n, 64) for n in WINDOWS),
    ("c", 1, 3, FOLDED),
    ("d", 1, 3, FOLDED),
    ("h", 2, 2, 0),
)
"""Device, the window it names, the window it is counted in, its weight; none is a refusal."""

PLAN: Final = """
schema = 1
federation = "wrists"
model = "tiny.safetensors"
[train]
[window]
mode = "rounds"
goal = 2
quorum = 2
[select]
policy = "uniform"
[update]
codec = "hadamard"
bits = 4
[combine]
strategy = "{strategy}"
{more}
[privacy]
mechanism = "gaussian"
noise_multiplier = 0.2
minimum_crowd = 2
"""


@dataclass
class Books:
    """Where everything lies, and what the maker knows of it."""

    folder: Path
    plan: Plan
    model: bytes
    rows: list[tuple[Table, dict[str, Any]]] = field(default_factory=list)
    settled: Counter[str] = field(default_factory=Counter)
    ids: dict[tuple[str, int], bytes] = field(default_factory=dict)
    manifest: bytes | None = None
    memory: np.ndarray[Any, np.dtype[np.float64]] = field(default_factory=lambda: np.zeros(70))

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger.db"

    @property
    def homes(self) -> Path:
        return self.folder / "homes"

    @property
    def payloads(self) -> Path:
        return self.folder / "payloads"

    @property
    def auditor_key(self) -> Path:
        return self.folder / "auditor.key"

    def write(self, table: Table, **row: Any) -> None:
        self.rows.append((table, {"federation": "wrists", **row}))


def honest(folder: Path, strategy: str = "fedavg", more: str = "") -> Books:
    """The honest books, in `folder`."""
    model = save({"w": np.linspace(-1, 1, 70, dtype=np.float32)})
    books = Books(folder, from_toml(PLAN.format(strategy=strategy, more=more), model), model)
    _found(books)
    for number in WINDOWS:
        _window(books, number)
    for device, spent in books.settled.items():
        books.write(tables.BUDGETS, device=device, settled=spent, reserved=0)
    for kind, count in (("deliveries", 13), ("first", 11), ("duplicate", 1), ("unauthenticated", 1)):
        books.write(tables.DELIVERIES, kind=kind, count=count)
    _audit(books)
    _store(books)
    return books


def device_key(device: str) -> Key:
    return Key(hashlib.sha256(device.encode()).digest())


def seed(number: int) -> bytes:
    return bytes([number]) * 32


def _found(books: Books) -> None:
    books.auditor_key.write_text(bytes(AUDITOR).hex() + "\n")
    plan = books.plan
    books.write(
        tables.FEDERATIONS,
        ledger="x",
        epoch=1,
        plan_digest=plan.digest,
        plan=plan.canonical,
        model_digest=plan.model.digest,
        created_at=0,
    )
    for role, key in (("receipt", RECEIPT_KEY), ("release", RELEASE_KEY)):
        books.write(tables.SERVER_KEYS, role=role, public_key=key.public_key)
    for device in "abcdh":
        own = device_key(device).public_key
        books.write(tables.DEVICES, device=device, public_key=own, enrolled_at=0, identity=b"")
    books.write(tables.BLOBS, digest=plan.model.digest, body=books.model)


def _window(books: Books, number: int) -> None:
    plan, opened = books.plan, number * 10_000
    digest = hashlib.sha256(books.model).digest()
    body = Window(
        number=number,
        base=ModelRef(version=number - 1, digest=digest, size=len(books.model)),
        cohort=("a", "b"),
        goal=2,
        quorum=2,
        most=6,
        deadline=opened + 6000,
        seed=seed(number),
        bound=bound_of(plan),
        weight_cap=64,
    )
    times = {"opened_at": opened, "deadline": opened + 6000, "ended_at": opened + 5000}
    row = {"number": number, "state": "released", "body": encode(body), "base_version": number - 1, "version": number}
    books.write(tables.WINDOWS, **row, **times)
    total = np.zeros(70, np.int64)
    members = [one for one in STORY if one[2] == number]
    for device, named, _, weight in members:
        total += _update(books, device, named, number, weight)
    _release(books, number, total, sum(1 for one in members if one[3]))


def _update(books: Books, device: str, named: int, counted: int, weight: int) -> Integers:
    """Write one update down as it ended, and give what it adds to the sum."""
    plan, grid, codec = books.plan, grid_of(books.plan), codec_of(books.plan)
    random = np.random.default_rng([ord(device), named])
    change = random.normal(size=70) / 10
    payload = codec.encode(change, grid, seed(named), bound_of(plan), random.bytes)
    update = Update(
        federation="wrists",
        device=device,
        window=named,
        base=bytes(32),
        plan=plan.digest,
        nonce=bytes(16),
        payload=BlobRef(digest=hashlib.sha256(payload).digest(), size=len(payload)),
    )
    sealed = seal(update, Purpose.UPDATE, device_key(device), 1, named)
    name = books.ids[device, named] = unseal(sealed).id
    place = books.payloads / ("kept" if counted % 2 else name.hex()[:2])
    place.mkdir(parents=True, exist_ok=True)
    (place / name.hex()).write_bytes(payload)
    outcome: Outcome = Refused(reason="norm", why="too long")
    if weight:
        outcome = Counted(release=counted, window=counted, weight=weight)
        _charge(books, name, device, counted, weight)
    at = counted * 10_000 + 5000
    receipt = Receipt(federation="wrists", device=device, update=name, window=named, outcome=outcome, at=at)
    answer = seal(receipt, Purpose.RECEIPT, RECEIPT_KEY, 1, len(books.ids))
    books.write(
        tables.UPDATES,
        id=name,
        device=device,
        named_window=named,
        window=counted,
        staleness=counted - named,
        weight=weight,
        sealed=sealed,
        decided_by="norm",
        admitted_at=counted * 10_000 + 1000,
        outcome="counted" if weight else "refused",
        reason=None if weight else "norm",
        version=counted if weight else None,
        receipt=answer,
        ended_at=at,
    )
    home = books.homes / device
    home.mkdir(parents=True, exist_ok=True)
    with Outbox(home / "outbox.db") as outbox:
        outbox.keep(name, named, sealed, payload)
        outbox.clear(name, answer)
    turned, levels = np.zeros(grid.padded, np.int64), codec.decode(payload, grid)
    assert isinstance(levels, Levels)
    add(turned, levels, weight)
    return rotate_back(grid, turned, seed(named))


def _charge(books: Books, name: bytes, device: str, window: int, weight: int) -> None:
    loss = mechanism_of(books.plan).price(weight, 64, bound_of(books.plan))
    books.settled[device] += loss
    row = {"update": name, "device": device, "window": window, "loss": loss, "state": "settled", "version": window}
    books.write(tables.CHARGES, **row)


def _release(books: Books, number: int, total: Integers, members: int) -> None:
    plan, base = books.plan, hashlib.sha256(books.model).digest()
    sigma = mechanism_of(plan).sigma(64, bound_of(plan))
    key = hashlib.sha256(b"noise%d" % number).digest()
    total += mechanism_of(plan).noise(key, 64 * sigma, 70)
    beta = float(str(plan.combine.strategy.fields.get("beta", 0)))
    books.memory = beta * books.memory + total * grid_of(plan).unit / (64 * plan.window.goal * 64)
    books.model = filled(books.model, flat(books.model) + books.memory)
    model, noised = hashlib.sha256(books.model).digest(), total.astype("<i8").tobytes()
    books.manifest = manifest = _manifest(books, number, model, members)
    for body in (books.model, noised):
        books.write(tables.BLOBS, digest=hashlib.sha256(body).digest(), body=body)
    books.write(
        tables.RELEASES,
        version=number,
        window=number,
        manifest=manifest,
        manifest_digest=hashlib.sha256(manifest).digest(),
        base_digest=base,
        model_digest=model,
        model_size=len(books.model),
        total_digest=hashlib.sha256(noised).digest(),
        optimizer_size=0,
        noise_key=SealedBox(AUDITOR.public_key).encrypt(key),
        sigma=sigma,
        members=members,
        arrived=2,
        released_at=number * 10_000 + 5000,
    )


def _manifest(books: Books, number: int, model: bytes, members: int) -> bytes:
    loss = epsilon(max(books.settled.values()), books.plan.privacy.delta)
    said = Manifest(
        schema=1,
        federation="wrists",
        version=number,
        window=number,
        members=members,
        model=ModelFile(digest=model.hex(), size=len(books.model), format="safetensors"),
        plan=books.plan.digest.hex(),
        previous=hashlib.sha256(books.manifest).hexdigest() if books.manifest else None,
        issued=moment(number),
        expires=moment(number + 1),
        privacy=Privacy(epsilon=loss, delta=books.plan.privacy.delta, sentence="for one device"),
    )
    return sign(said, RELEASE_KEY.sign, RELEASE_KEY.public_key)


def _audit(books: Books) -> None:
    previous = bytes(32)
    for seq in (1, 2, 3):
        row: dict[str, Any] = {"seq": seq, "federation": "wrists", "at": seq, "actor": "releaser", "action": "release"}
        row |= {"subject": str(seq), "body": '{"why":"ε"}'}
        link = json.dumps(
            {**row, "previous": previous.hex()}, sort_keys=True, separators=(",", ":"), ensure_ascii=False
        )
        chained = hashlib.sha256(link.encode()).digest()
        books.write(tables.AUDIT, **row, previous=previous, hash=chained)
        previous = chained


def _store(books: Books) -> None:
    engine = create_engine(f"sqlite:///{books.ledger}")
    tables.METADATA.create_all(engine)
    with engine.begin() as store:
        for table, row in books.rows:
            known = {name: value for name, value in row.items() if name in table.columns}
            store.execute(insert(table), known)
    engine.dispose()
