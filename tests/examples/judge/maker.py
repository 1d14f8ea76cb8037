"""A consistent federation made from the promises alone: its ledger, its devices' logs and what the broker carried.

Tables are lists of dictionaries, so that a test corrupts one of them in one line; `written` makes the files. Nothing
here is taken from the judge: envelopes, manifests and the log's hashes are made a second time.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sqlite3
from contextlib import closing
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgpack
from nacl.signing import SigningKey

from examples.judge.evidence import gathered
from examples.judge.verdict import Verdict, verdict

FEDERATION: Final = "pumps"
DEVICES: Final = ("pump-1", "pump-2", "pump-3", "pump-4")
BOUND: Final = 1 << 21
SIGMA: Final = 1 << 28
NOON: Final = 1_790_000_000_000
PURPOSES: Final = {"update": 4, "identity": 16, "invitation": 17, "receipt": 18, "presence": 2}

Row = dict[str, Any]
Tables = dict[str, list[Row]]

LEDGER: Final = {
    "federations": "federation ledger epoch plan_digest plan model_digest created_at halted halted_why halted_at",
    "server_keys": "federation role public_key",
    "devices": "federation device public_key enrolled_at identity",
    "windows": "federation number state body base_version opened_at deadline ended_at version",
    "updates": "id federation device named_window window staleness weight sealed decided_by admitted_at outcome reason"
    " version receipt ended_at",
    "budgets": "device settled reserved",
    "charges": "update federation device window loss state version",
    "blobs": "digest body",
    "releases": "federation version window manifest manifest_digest base_digest model_digest model_size total_digest"
    " optimizer_digest optimizer_size noise_key sigma members arrived released_at",
    "deliveries": "federation kind count",
    "audit": "seq federation at actor action subject body previous hash",
    "leases": "name epoch holder issued_at",
    "past_updates": "federation named_window outcome reason version count",
    "past_devices": "federation device named_window mark ended settled",
    "restorations": "federation number at why version window closed_at resumed_at because base_version",
    "surcharges": "federation device restoration loss",
}
OUTBOX: Final = {
    "waiting": "number id window at sealed payload",
    "receipts": "number id window at sealed",
    "sent": "number id at",
    "memory": "name value",
}


def key(name: str) -> SigningKey:
    """The key of this name, the same each time."""
    return SigningKey(hashlib.sha256(name.encode()).digest())


def public(name: str) -> bytes:
    return bytes(key(name).verify_key)


def digest(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()


def seal(signer: str, purpose: str, message: Row, counter: int = 0) -> bytes:
    """An envelope, by section 3 of the wire."""
    header = bytes(msgpack.packb(message))
    begins = b"mz\x01\x01" + bytes([PURPOSES[purpose], 0]) + len(header).to_bytes(2, "big")
    begins += (0).to_bytes(4, "big") + counter.to_bytes(8, "big") + digest(public(signer))[:16]
    text = f"mizzle/1/{purpose}".encode() + b"\0" + begins + header
    return begins + key(signer).sign(text).signature + header


def update_id(sealed: bytes, purpose: str = "update") -> bytes:
    return digest(f"mizzle/1/{purpose}".encode() + b"\0" + sealed[:36] + sealed[100:])


def compact(found: object) -> bytes:
    return json.dumps(found, sort_keys=True, separators=(",", ":")).encode()


PLAN: Final = compact(
    {
        "federation": FEDERATION,
        "model": {"parameters": 4, "size": 80},
        "privacy": {
            "delta": 1e-5,
            "device_budget": 1000.0,
            "federation_budget": 1000.0,
            "mechanism": {"fields": {"noise_multiplier": 2.0}, "name": "gaussian"},
            "minimum_crowd": 2,
        },
        "window": {"late": "fold", "max_staleness": 2, "mode": "rounds"},
    }
)


def manifest(said: Row, signer: str = "release") -> bytes:
    """A DSSE envelope, by section 12 of the wire."""
    kind, payload = "application/vnd.mizzle.release.v1+json", compact(said)
    text = f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload
    signature = {
        "keyid": digest(public(signer))[:16].hex(),
        "sig": base64.b64encode(key(signer).sign(text).signature).decode(),
    }
    return compact({"payload": base64.b64encode(payload).decode(), "payloadType": kind, "signatures": [signature]})


@dataclass
class World:
    """A federation's evidence, to be corrupted."""

    ledger: Tables = field(default_factory=lambda: {table: [] for table in LEDGER})
    homes: dict[str, Tables] = field(default_factory=dict)
    trace: list[Row] = field(default_factory=list)
    plan: bytes = PLAN
    aliases: dict[int, int] = field(default_factory=dict)  # versions under which a restored ledger went on

    def row(self, table: str, **wanted: object) -> Row:
        """The one row of the ledger that has these values."""
        (row,) = [row for row in self.ledger[table] if wanted.items() <= row.items()]
        return row

    def update(self, device: str, window: int) -> Row:
        """The one update of this device that names this window."""
        return self.row("updates", device=device, named_window=window)

    def charge(self, device: str, window: int) -> Row:
        """The charge for that update."""
        return self.row("charges", update=self.update(device, window)["id"])

    def act(self, action: str, subject: object) -> Row:
        """The one row of the log that says this."""
        return self.row("audit", action=action, subject=str(subject))


def say(world: World, topic: str, body: bytes, *, retained: bool = False) -> None:
    said = {"at": NOON, "topic": f"mz/1/{FEDERATION}/{topic}", "body": base64.b64encode(body).decode()}
    world.trace.append({**said, "retained": retained})


def note(world: World, action: str, subject: object, **body: object) -> None:
    act = {"seq": len(world.ledger["audit"]) + 1, "federation": FEDERATION, "at": NOON, "actor": "accountant"}
    world.ledger["audit"].append({**act, "action": action, "subject": str(subject), "body": compact(body).decode()})


def chain(world: World) -> None:
    """Bind the log's rows anew, as whoever tampers with the whole file would."""
    before = bytes(32)
    for act in world.ledger["audit"]:
        act["previous"] = before
        bound = {name: act[name] for name in act if name not in {"previous", "hash"}}
        before = act["hash"] = digest(compact({**bound, "previous": before.hex()}))


def balance(world: World) -> None:
    """Make the budgets the sums of the charges, of what was cleaned up, and of surcharges."""
    world.ledger["budgets"] = [
        {"device": device, **{state: total(world, device, state) for state in ("settled", "reserved")}}
        for device in DEVICES
    ]


def total(world: World, device: str, state: str) -> int:
    charges = [one["loss"] for one in world.ledger["charges"] if (one["device"], one["state"]) == (device, state)]
    if state == "reserved":
        return sum(charges)
    past = [one["settled"] for one in world.ledger["past_devices"] if one["device"] == device]
    return sum(charges + past + [one["loss"] for one in world.ledger["surcharges"] if one["device"] == device])


def keep(world: World, body: bytes) -> bytes:
    world.ledger["blobs"].append({"digest": digest(body), "body": body})
    return digest(body)


def found(world: World) -> None:
    model = keep(world, b"model 0".ljust(80))
    world.ledger["federations"] = [
        {
            "federation": FEDERATION,
            "ledger": "5081a7c6",
            "epoch": 0,
            "plan_digest": digest(world.plan),
            "plan": world.plan,
        }
        | {"model_digest": model, "created_at": NOON, "halted": None, "halted_why": None, "halted_at": None}
    ]
    for role in ("receipt", "invitation", "release"):
        world.ledger["server_keys"].append({"federation": FEDERATION, "role": role, "public_key": public(role)})
    world.ledger["deliveries"] = [{"federation": FEDERATION, "kind": "first", "count": 0}]
    world.ledger["leases"] = [{"name": f"{FEDERATION}/releaser", "epoch": 2, "holder": "vm", "issued_at": NOON}]
    note(world, "federation.founded", FEDERATION)


def enrol(world: World, device: str) -> None:
    named = {"type": "identity.v1", "federation": FEDERATION, "device": device, "public_key": public(device)}
    identity = seal("receipt", "identity", named)
    row = {"federation": FEDERATION, "device": device, "public_key": public(device)}
    world.ledger["devices"].append({**row, "enrolled_at": NOON, "identity": identity})
    memory: list[Row] = [{"name": "counter", "value": 256}, {"name": "identity", "value": identity}]
    world.homes[device] = {"waiting": [], "receipts": [], "sent": [], "memory": memory}
    note(world, "device.enrolled", device)


def open_window(world: World, number: int, base: int, cohort: tuple[str, ...]) -> None:
    model = world.ledger["federations"][0]["model_digest"]
    if world.aliases.get(base, base):
        model = world.row("releases", version=world.aliases.get(base, base))["model_digest"]
    body = {"type": "window.v1", "number": number, "base": {"version": base, "digest": model, "size": 80}}
    body |= {"cohort": list(cohort), "goal": 3, "quorum": 2, "most": 6, "deadline": NOON + number}
    body |= {"seed": digest(b"%d" % number), "bound": BOUND, "weight_cap": 64, "optimizer": None}
    row = {"federation": FEDERATION, "number": number, "state": "open", "body": msgpack.packb(body)}
    row |= {"base_version": base, "opened_at": NOON, "deadline": NOON + number, "ended_at": None, "version": None}
    world.ledger["windows"].append(row)
    note(world, "window.opened", number, base=base)
    for device in cohort:
        invited = {"type": "invitation.v1", "federation": FEDERATION, "device": device, "window": number}
        invited |= {name: body[name] for name in ("base", "deadline", "seed", "bound")}
        say(world, f"to/{device}/invitation", seal("invitation", "invitation", invited | {"epoch": 0}))


def send(world: World, device: str, window: int, counter: int | None = None) -> Row:
    """The device makes an update, keeps it and sends it."""
    base = msgpack.unpackb(world.row("windows", number=window)["body"])["base"]["digest"]
    message = {"type": "update.v1", "federation": FEDERATION, "device": device, "window": window, "base": base}
    message |= {"plan": digest(world.plan), "nonce": bytes(16), "payload": {"digest": digest(b"payload"), "size": 7}}
    log = world.homes[device]
    number = len(log["sent"]) + 1
    sealed = seal(device, "update", message, number if counter is None else counter)
    kept = {"number": number, "id": update_id(sealed), "window": window, "at": NOON, "sealed": sealed}
    log["waiting"].append({**kept, "payload": b"payload"})
    log["sent"].append({"number": number, "id": kept["id"], "at": NOON})
    say(world, f"up/7/{device}/update", sealed + b"payload")
    return kept


def count_kept(world: World) -> None:
    """Every log counts what it kept, as outboxes do since they have this count."""
    for log in world.homes.values():
        answered = max((one["number"] for one in log["receipts"]), default=0)
        log["memory"].append({"name": "kept", "value": len(log["waiting"]) + answered})


def price(weight: int) -> int:
    return -(-((weight * BOUND) ** 2 * 2**32) // SIGMA**2)


def admit(world: World, device: str, kept: Row, window: int, staleness: int = 0) -> None:
    weight = {0: 64, 1: 45}[staleness]
    world.ledger["updates"].append(
        {"id": kept["id"], "federation": FEDERATION, "device": device, "named_window": kept["window"]}
        | {"window": window, "staleness": staleness, "weight": weight, "sealed": kept["sealed"], "decided_by": "norm"}
        | {"admitted_at": NOON, "outcome": "open", "reason": None, "version": None, "receipt": None, "ended_at": None}
    )
    charge = {"update": kept["id"], "federation": FEDERATION, "device": device, "window": window, "loss": price(weight)}
    world.ledger["charges"].append({**charge, "state": "reserved", "version": None})
    world.ledger["deliveries"][0]["count"] += 1


def receipt(row: Row, outcome: Row, signer: str = "receipt") -> bytes:
    named = {"type": "receipt.v1", "federation": row["federation"], "device": row["device"], "update": row["id"]}
    return seal(signer, "receipt", {**named, "window": row["named_window"], "outcome": outcome, "at": NOON})


def end(world: World, row: Row, outcome: Row, charged: str, version: int | None) -> None:
    """The update ends in the ledger, and its device clears it."""
    row |= {"outcome": outcome["outcome"], "reason": outcome.get("reason"), "version": outcome.get("release")}
    row |= {"receipt": receipt(row, outcome), "ended_at": NOON}
    world.row("charges", update=row["id"]).update(state=charged, version=version)
    log = world.homes[row["device"]]
    log["waiting"] = [kept for kept in log["waiting"] if kept["id"] != row["id"]]
    answer = {"number": len(log["receipts"]) + 1, "id": row["id"], "window": row["named_window"]}
    log["receipts"].append({**answer, "at": NOON, "sealed": row["receipt"]})
    say(world, f"to/{row['device']}/receipt", row["receipt"])


def abandon(world: World, number: int) -> None:
    world.row("windows", number=number).update(state="abandoned", ended_at=NOON)
    for row in [row for row in world.ledger["updates"] if (row["window"], row["outcome"]) == (number, "open")]:
        end(world, row, {"outcome": "abandoned", "window": number}, "void", None)
    note(world, "window.abandoned", number)


def refuse(world: World, row: Row, reason: str, version: int) -> None:
    end(world, row, {"outcome": "refused", "reason": reason, "why": "it is unlike"}, "settled", version)


def release(world: World, number: int, version: int, arrived: int) -> None:
    """Every open update of the window is counted."""
    members = [row for row in world.ledger["updates"] if (row["window"], row["outcome"]) == (number, "open")]
    for row in members:
        counted = {"outcome": "counted", "release": version, "window": number, "weight": row["weight"]}
        end(world, row, counted, "settled", version)
    world.row("windows", number=number).update(state="released", ended_at=NOON, version=version)
    body = b"model %d" % version
    model, summed = keep(world, body.ljust(80)), keep(world, (b"sum %d" % version).ljust(32))
    say_blob(world, body.ljust(80))
    base = msgpack.unpackb(world.row("windows", number=number)["body"])["base"]["digest"]
    row = {"federation": FEDERATION, "version": version, "window": number, "base_digest": base}
    row |= {"model_digest": model, "model_size": 80, "total_digest": summed, "optimizer_digest": None}
    row |= {"optimizer_size": 0, "noise_key": b"", "sigma": SIGMA, "members": len(members), "arrived": arrived}
    world.ledger["releases"].append({**row, "released_at": NOON})
    sign(world, version)
    released = world.row("releases", version=version)
    note(
        world,
        "window.released",
        number,
        manifest=released["manifest_digest"].hex(),
        members=sorted(one["id"].hex() for one in members),
        total=summed.hex(),
        version=version,
    )
    announce(world, version)


def sign(world: World, version: int, **other: object) -> None:
    """Make the manifest of a release that is in the ledger, with whatever it should say otherwise."""
    row = world.row("releases", version=version)
    before = [one for one in world.ledger["releases"] if one["version"] < version]
    said = {"schema": 1, "federation": FEDERATION, "version": version, "window": row["window"]}
    said |= {"members": row["members"], "plan": digest(world.plan).hex()}
    said |= {"model": {"digest": row["model_digest"].hex(), "size": 80, "format": "safetensors"}}
    said |= {"previous": before[-1]["manifest_digest"].hex() if before else None}
    said |= {"privacy": {"epsilon": 50.0, "delta": 1e-5, "sentence": "for one device"}}
    row["manifest"] = manifest({**said, **other})
    row["manifest_digest"] = digest(row["manifest"])


def announce(world: World, version: int) -> None:
    event = {"data": json.loads(world.row("releases", version=version)["manifest"]), "specversion": "1.0"}
    say(world, "pub/release", json.dumps({**event, "type": "io.mizzle.release.v1"}).encode(), retained=True)


def say_blob(world: World, body: bytes) -> None:
    say(world, f"pub/blob/{digest(body).hex()}/0", b"mb" + len(body).to_bytes(4, "big") + body, retained=True)


def world(versions: tuple[int, int] = (1, 2)) -> World:
    """Two releases, an abandoned window, a refused update, one folded late, one open, and one that waits."""
    made = World()
    first, second = versions
    found(made)
    for device in DEVICES:
        enrol(made, device)
    open_window(made, 1, 0, ("pump-1", "pump-2", "pump-3"))
    for device in ("pump-1", "pump-2", "pump-3"):
        admit(made, device, send(made, device, 1), 1)
    release(made, 1, first, 3)
    open_window(made, 2, first, ("pump-1", "pump-4"))
    admit(made, "pump-1", send(made, "pump-1", 2), 2)
    late = send(made, "pump-4", 2)
    abandon(made, 2)
    open_window(made, 3, first, ("pump-1", "pump-2", "pump-3"))
    for device in ("pump-1", "pump-2", "pump-3"):
        admit(made, device, send(made, device, 3), 3)
    admit(made, "pump-4", late, 3, staleness=1)
    refuse(made, made.update("pump-3", 3), "history", second)
    release(made, 3, second, 3)
    open_window(made, 4, second, ("pump-1", "pump-2"))
    admit(made, "pump-1", send(made, "pump-1", 4), 4)
    send(made, "pump-2", 4)
    chain(made)
    balance(made)
    return made


def _tables(path: Path, columns: dict[str, str], tables: Tables) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as line:
        line.execute("PRAGMA synchronous = OFF")  # nobody needs this file after a loss of power
        line.execute("BEGIN")
        for table, names in ((table, names) for table, names in columns.items() if table in tables):
            listed = [f'"{name}"' for name in names.split()]
            line.execute(f'CREATE TABLE "{table}" ({", ".join(listed)})')
            places = ", ".join("?" * len(listed))
            rows = [[row[name] for name in names.split()] for row in tables[table]]
            line.executemany(f'INSERT INTO "{table}" VALUES ({places})', rows)  # noqa: S608  # our own names
        line.execute("COMMIT")


@dataclass(frozen=True)
class Files:
    """Where a world was written."""

    ledger: Path
    homes: Path
    trace: Path


def written(one: World, folder: Path) -> Files:
    """The world as files."""
    files = Files(folder / "ledger.db", folder / "homes", folder / "trace.jsonl")
    _tables(files.ledger, LEDGER, one.ledger)
    for device, log in one.homes.items():
        _tables(files.homes / device / "outbox.db", OUTBOX, log)
    files.trace.write_text("\n".join(json.dumps(said) for said in one.trace), encoding="utf-8")
    return files


def judged(one: World, folder: Path, earlier: World | None = None) -> Verdict:
    """The verdict on a world that was written to this folder, beside an earlier one."""
    files = written(one, folder / "now")
    before = written(earlier, folder / "before").ledger if earlier else None
    return verdict(gathered(files.ledger, files.homes, files.trace, before))


def codes(one: World, folder: Path, earlier: World | None = None) -> list[str]:
    """What is found wrong, in words."""
    return [finding.code for finding in judged(one, folder, earlier).findings]


def copied(one: World) -> World:
    return deepcopy(one)
