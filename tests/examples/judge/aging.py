"""What ledgers learn with age: updates are cleaned up, a backup is put back, windows are buffered."""

from __future__ import annotations

import json
from math import ceil
from typing import Final

from tests.examples.judge.maker import (
    DEVICES,
    FEDERATION,
    NOON,
    PLAN,
    Row,
    World,
    abandon,
    admit,
    balance,
    chain,
    compact,
    copied,
    end,
    enrol,
    found,
    note,
    open_window,
    price,
    receipt,
    release,
    say,
    seal,
    send,
    world,
)

MOST: Final = ceil((145 / 64) ** 2 / 4 * 2**32)
"""What one release can cost a device at most: weights 64, 45 and 36 under a noise multiplier of 2."""


def tidy(made: World, device: str, window: int) -> Row:
    """Clean the one update up, with its charge; what was there of it."""
    row = made.update(device, window)
    charge = made.charge(device, window)
    made.ledger["updates"].remove(row)
    made.ledger["charges"].remove(charge)
    _count(made, row)
    _mark(made, row, charge["loss"] if charge["state"] == "settled" else 0)
    return row


def _count(made: World, row: Row) -> None:
    way = {"federation": FEDERATION, "named_window": row["named_window"], "outcome": row["outcome"]}
    way |= {"reason": row["reason"] or "", "version": row["version"] or 0}
    for one in made.ledger["past_updates"]:
        if way.items() <= one.items():
            one["count"] += 1
            return
    made.ledger["past_updates"].append({**way, "count": 1})


def _mark(made: World, row: Row, settled: int) -> None:
    counter = int.from_bytes(row["sealed"][12:20], "big")
    new = {"federation": FEDERATION, "device": row["device"], "named_window": 0, "mark": 0, "ended": b"", "settled": 0}
    ours = [one for one in made.ledger["past_devices"] if one["device"] == row["device"]]
    if not ours:
        made.ledger["past_devices"].append(new)
    memory = ours[0] if ours else new
    mark = max(memory["mark"], counter)
    marks = int.from_bytes(memory["ended"], "big") << mark - memory["mark"] | 1 << mark - counter
    memory |= {"mark": mark, "ended": marks.to_bytes((marks.bit_length() + 7) // 8, "big")}
    memory |= {"named_window": max(memory["named_window"], row["named_window"])}
    memory["settled"] += settled


def memory(made: World, device: str) -> Row:
    """What is remembered of this device."""
    return made.row("past_devices", device=device)


def tidied() -> World:
    """The whole first window, one member of the second release, and what was abandoned are cleaned up."""
    made = world()
    for device, window in (("pump-1", 1), ("pump-2", 1), ("pump-3", 1), ("pump-1", 2), ("pump-1", 3)):
        tidy(made, device, window)
    balance(made)
    return made


def told_again(made: World, row: Row, **other: object) -> bytes:
    """The answer to an update that was cleaned up."""
    deadline = made.row("windows", number=row["named_window"])["deadline"]
    said = {"type": "receipt.v1", "federation": FEDERATION, "device": row["device"], "update": row["id"]}
    said |= {"window": row["named_window"], "outcome": {"outcome": "refused", "reason": "already-ended", "why": "long"}}
    counter = other.pop("counter", deadline)
    assert isinstance(counter, int)
    body = seal("receipt", "receipt", {**said, "at": deadline, **other}, counter)
    say(made, f"to/{row['device']}/receipt", body)
    return body


def lost() -> World:
    """What went on after the backup, which is `world()`: release 3 went out, and window 5 was open."""
    made = world()
    admit(made, "pump-2", made.homes["pump-2"]["waiting"][0], 4)
    release(made, 4, 3, 2)
    open_window(made, 5, 3, ("pump-3", "pump-4"))
    admit(made, "pump-3", send(made, "pump-3", 5), 5)
    chain(made)
    balance(made)
    return made


def marked() -> World:
    """The backup is put back, and waits for a person; devices and the broker have gone on."""
    made, after = world(), lost()
    made.homes, made.trace = after.homes, after.trace
    row = {"federation": FEDERATION, "number": 1, "at": NOON, "why": "restored", "version": 2, "window": 4}
    row |= {"closed_at": None, "resumed_at": None, "because": None, "base_version": None}
    made.ledger["restorations"].append(row)
    made.row("leases")["epoch"] += 1 << 32
    note(made, "ledger.restored", FEDERATION, why="restored")
    given_up = made.update("pump-1", 4)
    made.row("windows", number=4).update(state="abandoned", ended_at=NOON)
    _close(made, given_up, {"outcome": "abandoned", "window": 4})
    made.charge("pump-1", 4)["state"] = "settled"
    note(made, "window.abandoned", 4, noise_was_drawn=True)
    refuse_restored(made, "pump-3", 5)
    row["closed_at"] = NOON
    chain(made)
    balance(made)
    return made


def _close(made: World, row: Row, outcome: Row) -> None:
    """It ends in the ledger; its device has let it go before."""
    row |= {"outcome": outcome["outcome"], "reason": outcome.get("reason"), "receipt": receipt(row, outcome)}
    row["ended_at"] = NOON
    say(made, f"to/{row['device']}/receipt", row["receipt"])


def refuse_restored(made: World, device: str, window: int) -> None:
    """What waits comes again, and a lost release may hold it."""
    (kept,) = [one for one in made.homes[device]["waiting"] if one["window"] == window]
    admit(made, device, kept, 4)
    made.ledger["charges"].pop()
    row = made.ledger["updates"][-1]
    row["window"] = None
    made.homes[device]["waiting"].remove(kept)
    _close(made, row, {"outcome": "refused", "reason": "restored", "why": "it may have been counted"})
    log = made.homes[device]["receipts"]
    answer = {"number": len(log) + 1, "id": row["id"], "window": window, "at": NOON, "sealed": row["receipt"]}
    log.append(answer)


def resume(made: World) -> None:
    """A person says that release 3 and window 5 were the newest: it goes on as release 4, and with window 6."""
    row = made.row("restorations", number=1)
    row |= {"version": 3, "window": 5, "resumed_at": NOON, "because": "the disk", "base_version": 4}
    made.aliases[4] = 2
    for device in DEVICES:
        made.ledger["surcharges"].append(
            {"federation": FEDERATION, "device": device, "restoration": 1, "loss": MOST},
        )
    said = {"base_version": 4, "because": "the disk", "charged": MOST, "lost_releases": 1, "version": 3, "window": 5}
    note(made, "ledger.resumed", FEDERATION, **said)
    skip(made)


def skip(made: World) -> None:
    """A window that nobody was in, which no row of the log knows."""
    acts = len(made.ledger["audit"])
    open_window(made, 5, 4, ())
    made.row("windows", number=5).update(state="abandoned", ended_at=NOON)
    del made.ledger["audit"][acts:]


def resumed() -> World:
    """It has gone on: window 6 became release 5, and window 7 is open."""
    made = marked()
    resume(made)
    open_window(made, 6, 4, ("pump-1", "pump-2", "pump-3"))
    for device in ("pump-1", "pump-2"):
        admit(made, device, send(made, device, 6), 6)
    release(made, 6, 5, 2)
    open_window(made, 7, 5, ("pump-1", "pump-2"))
    chain(made)
    balance(made)
    return made


def resumed_at_once() -> World:
    """Nothing was lost: the backup was the newest there was, and window 4 was open in it."""
    made = copied(world())
    row = {"federation": FEDERATION, "number": 1, "at": NOON, "why": "restored", "version": 2, "window": 4}
    row |= {"closed_at": NOON, "resumed_at": NOON, "because": "a try", "base_version": 2}
    made.ledger["restorations"].append(row)
    note(made, "ledger.restored", FEDERATION, why="restored")
    made.row("windows", number=4).update(state="abandoned", ended_at=NOON)
    end(made, made.update("pump-1", 4), {"outcome": "abandoned", "window": 4}, "settled", None)
    note(made, "window.abandoned", 4, noise_was_drawn=True)
    note(made, "ledger.resumed", FEDERATION, base_version=2, because="a try", version=2, window=4)
    open_window(made, 5, 2, ("pump-1", "pump-2"))
    chain(made)
    balance(made)
    return made


def planned(**window: object) -> bytes:
    """The plan, with other rules for its windows."""
    plan = json.loads(PLAN)
    return compact({**plan, "window": {**plan["window"], **window}})


def buffered() -> World:
    """Two releases of three updates each, whichever their windows; one window abandoned between them; one waits."""
    made = World(plan=planned(mode="buffered"))
    found(made)
    for device in DEVICES:
        enrol(made, device)
    open_window(made, 1, 0, DEVICES)
    sent = {device: send(made, device, 1) for device in DEVICES}
    for device in DEVICES[:3]:
        admit(made, device, sent[device], 1)
    release(made, 1, 1, 3)
    open_window(made, 2, 1, ("pump-1",))
    later = send(made, "pump-1", 2)
    abandon(made, 2)
    open_window(made, 3, 1, ("pump-4", "pump-2"))
    admit(made, "pump-4", sent["pump-4"], 3, staleness=1)
    admit(made, "pump-1", later, 3)
    admit(made, "pump-4", send(made, "pump-4", 3), 3)
    made.charge("pump-4", 3)["loss"] = price(64 + 45) - price(45)
    beyond = send(made, "pump-2", 3)
    wait(made, "pump-2", beyond)
    release(made, 3, 2, 3)
    open_window(made, 4, 2, ("pump-3",))
    chain(made)
    balance(made)
    return made


def wait(made: World, device: str, kept: Row) -> None:
    """It is admitted, and waits for the window after this one; nothing is reserved for it yet."""
    admit(made, device, kept, 0)
    made.ledger["charges"].pop()
    made.ledger["updates"][-1]["window"] = None
