"""A federation in one process is one: it replays bit for bit, folds what is late, and draws what its ticks say."""

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from nacl.public import PrivateKey, SealedBox
from numpy.typing import NDArray
from safetensors.numpy import save

from bench.flow import Flow
from examples.replay import Records, rebuilt
from mizzle import topics
from mizzle.codec import decode
from mizzle.device.effects import Train
from mizzle.device.task import Task
from mizzle.device.training import Done, Trainer
from mizzle.envelope import unseal
from mizzle.grid import Vector
from mizzle.messages import Counted, Invitation, Outcome, Receipt
from mizzle.moves import Tick
from mizzle.payload import written
from mizzle.plan import Plan, from_toml
from mizzle.topics import Up
from mizzle.transport.memory import MemoryBus

AUDITOR = PrivateKey(bytes(range(32)))
MODEL = save({"weight": np.linspace(-1, 1, 300, dtype=np.float32)})
DEVICES = tuple(f"pump-{number}" for number in range(6))
START = 4_102_444_800_000
PLAN = """
schema = 1
federation = "pumps"
model = "tiny.safetensors"
[train]
[window]
mode = "rounds"
goal = 4
quorum = 3
invite = 1.0
deadline_s = 60.0
[select]
policy = "uniform"
[update]
{update}
[combine]
strategy = "fedavg"
[privacy]
mechanism = "plain"
minimum_crowd = 3
"""
CODECS = {
    "hadamard": 'codec = "hadamard"\nbits = 4',
    "drive 1": 'codec = "drive"\nbits = 1',
    "drive 2": 'codec = "drive"\nbits = 2',
    "topk": 'codec = "topk"\nshare = 0.05',
}


class Pumps:
    """A federation in `folder` of six pumps, of which the first to train in window 2 loses its line meanwhile."""

    def __init__(self, folder: Path, codec: str) -> None:
        seal = SealedBox(AUDITOR.public_key).encrypt
        plan = from_toml(PLAN.format(update=CODECS[codec]), MODEL)
        self.folder, self.lost = folder, ""
        self.flow = Flow(folder, plan, MODEL, seal_for_auditor=seal, keep_payloads=True)
        for device in DEVICES:
            self.flow.join(device, self.do)

    def do(self, order: Train) -> Done:
        device = order.invitation.device
        if order.invitation.window == 2 and not self.lost:
            self.lost = device
            self.flow.broker.cut(device)
        return Trainer(device, lambda task: learned(device, task), 0, drawn, lambda _: None).do(order)

    def turn(self, number: int) -> None:
        self.flow.turn(Tick(START + number * 60_000, hashlib.sha256(b"%d" % number).digest()))

    def models(self) -> list[str]:
        return [release.model.digest.hex() for release in self.flow.ledger.releases(100)]

    def outcomes(self, device: str) -> list[Outcome]:
        receipts = self.flow.devices[device].outbox.receipts()
        return [decode(unseal(receipt).header, Receipt).outcome for receipt in receipts]

    def replayed(self) -> int:
        """How many releases an auditor rebuilds; raises `Different` at the first that is not the same."""
        with closing(sqlite3.connect(f"{(self.folder / 'ledger.db').as_uri()}?mode=ro", uri=True)) as ledger:
            return len(list(rebuilt(Records(ledger, self.folder / "payloads", AUDITOR))))


def learned(device: str, task: Task) -> dict[str, NDArray[np.floating]]:
    random = np.random.default_rng([task.window, *device.encode()])
    return {"weight": task.weights["weight"] + random.normal(size=300) / 40}


def drawn(change: Vector, plan: Plan, invitation: Invitation) -> bytes:
    return written(change, plan, invitation.seed, invitation.bound, hashlib.shake_256(change.tobytes()).digest)


@pytest.mark.parametrize("codec", CODECS)
def test_every_release_replays_bit_for_bit_a_late_update_in_it(codec: str, tmp_path: Path) -> None:
    """Window 2 waits for its deadline; what its lost member sends in the end is folded into window 3."""
    pumps = Pumps(tmp_path, codec)
    for number in (1, 2, 3):
        pumps.turn(number)
    assert len(pumps.models()) == 2
    pumps.flow.broker.mend(pumps.lost)
    for number in (4, 5):
        pumps.turn(number)
    assert Counted(release=3, window=3, weight=45) in pumps.outcomes(pumps.lost)
    assert pumps.replayed() == len(pumps.models()) == 4


def test_every_update_of_a_turn_has_its_receipt_at_its_end(tmp_path: Path) -> None:
    pumps = Pumps(tmp_path, "hadamard")
    pumps.turn(1)
    assert sorted(len(pumps.outcomes(device)) for device in DEVICES) == [0, 0, 1, 1, 1, 1]
    assert [device for device in DEVICES if pumps.flow.devices[device].outbox.waiting()] == []


def test_what_nobody_has_signed_ends_at_the_gateway(tmp_path: Path) -> None:
    pumps = Pumps(tmp_path, "hadamard")
    stranger = MemoryBus(pumps.flow.broker, "stranger")
    stranger.open(lambda _: None)
    stranger.publish(topics.up("pumps", "pump-0", Up.PRESENCE), b"anything")
    pumps.turn(1)
    (stray,) = pumps.flow.strays
    assert stray.startswith("unknown: pump-0 is not enrolled")
    assert len(pumps.models()) == 1


def test_the_same_ticks_give_the_same_models_again(tmp_path: Path) -> None:
    """Keys and the times in receipts are new; what is learned is not."""
    models = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        pumps = Pumps(tmp_path / name, "topk")
        for number in (1, 2, 3):
            pumps.turn(number)
        models.append(pumps.models())
    assert models[0] == models[1]
    assert len(models[0]) == 2
