"""The Node examples in whole federations: a device beside Python ones, killed in the middle, and a reader."""

from __future__ import annotations

import asyncio
import hashlib
import signal
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from safetensors.numpy import save

from examples import watch
from examples.alone import accuracy
from mizzle import topics
from mizzle.codec import decode
from mizzle.device.task import Task
from mizzle.device.train import Device
from mizzle.envelope import unseal
from mizzle.grid import value
from mizzle.manifest import cloud_event, moment, sign
from mizzle.messages import Counted, Invitation, Receipt
from mizzle.model import flat, named
from mizzle.payload import read
from mizzle.plan import from_toml
from mizzle.releases import Release, follow
from mizzle.terms import grid_of
from mizzle.topics import Up
from services.ledger import keys
from services.local.federation import Federation, running
from services.local.fleet import Fleet, Wrist
from tests.examples.node import PATIENCE_S, Program, csv, device, integrator
from tests.lives import CHECKOUT
from tests.mizzle.device.fleet import Running, receipts
from tests.mqtt import Peer
from tests.node import need_node

NODE = "node-1"
PUMPS = ("pump-1", "pump-2")
WINDOWS = 3
NOISE = 0.001

LINEAR = save({"weight": np.zeros((3, 5), np.float32), "bias": np.zeros(3, np.float32)})
TOML = f"""
schema = 1
federation = "pumps"
model = "linear.safetensors"
[train]
epochs = 3
batch_size = 20
learning_rate = 0.5
[window]
mode = "rounds"
goal = 3
quorum = 2
invite = 1.0
deadline_s = 60.0
windows = {WINDOWS}
[select]
policy = "uniform"
[update]
codec = "hadamard"
bits = 8
[combine]
strategy = "fedavg"
[privacy]
mechanism = "gaussian"
noise_multiplier = {NOISE}
device_budget = 1e9
federation_budget = 1e9
minimum_crowd = 2
"""


ONE_BIT = (
    ('codec = "hadamard"\nbits = 8', 'codec = "drive"\nexamples = 150'),
    (f'mechanism = "gaussian"\nnoise_multiplier = {NOISE}', 'mechanism = "plain"'),
    ("[train]", "[train]\nproximal = 0.1"),
)
"""Of the same plan: 1 bit a parameter, weighing by examples, no privacy claim, and FedProx."""


@dataclass
class Overheard:
    """What the broker carried to and from one device, by two ears of the test's own."""

    up: Peer
    down: Peer
    updates: dict[int, bytes] = field(default_factory=dict)
    invitations: dict[int, Invitation] = field(default_factory=dict)
    receipts: dict[int, Receipt] = field(default_factory=dict)

    def update(self, window: int) -> bytes:
        """The device's update for this window, byte for byte; what it asks or sends again before that is none."""
        headers = {one[: unseal(one).size] for one in self.updates.values()}
        while (message := self.next()) in self.updates.values() or message in headers:
            pass
        self.updates[window] = message
        return message

    def next(self) -> bytes:
        """What the device sends or asks next, whether again or for the first time."""
        return self.up.got.get(timeout=PATIENCE_S).payload

    def receipt(self, window: int) -> Receipt:
        """The receipt for its update for this window."""
        while window not in self.receipts:
            said = self.down.got.get(timeout=PATIENCE_S)
            if said.topic.endswith("/want"):
                continue
            header = unseal(said.payload).header
            match said.topic.rpartition("/")[2]:
                case "invitation":
                    invitation = decode(header, Invitation)
                    self.invitations[invitation.window] = invitation
                case "receipt":
                    receipt = decode(header, Receipt)
                    self.receipts[receipt.window] = receipt
        return self.receipts[window]


@contextmanager
def overheard(federation: Federation, name: str) -> Iterator[Overheard]:
    """By the names that may hear it: the gateway and the device itself."""
    with (
        Peer(federation.broker.port, "gateway", client_id="ear-up") as up,
        Peer(federation.broker.port, name, client_id="ear-down") as down,
    ):
        for kind in (Up.UPDATE, Up.PROBE):
            up.subscribe(topics.up(federation.plan.federation, name, kind))
        down.subscribe(topics.every_to(federation.plan.federation, name))
        yield Overheard(up, down)


class Pumps:
    """Python devices that wait for leave before they end a task, and then change nothing."""

    def __init__(self, federation: Federation) -> None:
        self._leave = threading.Semaphore(0)
        self.homes = {name: federation.homes / name for name in PUMPS}
        self.devices = [
            Device(federation.broker_url, home, token=federation.founded.token(name))
            for name, home in self.homes.items()
        ]
        for one in self.devices:
            one.train(self._train)

    def may_end(self) -> None:
        """Let each end one task."""
        self._leave.release(len(self.devices))

    def _train(self, task: Task) -> object:
        assert self._leave.acquire(timeout=PATIENCE_S)
        for _ in task.batches(np.zeros(100)):
            pass  # so that its examples are counted
        return task.weights


def taken(federation: Federation, count: int, folder: Path | None = None) -> list[Release]:
    """The oldest releases that `mizzle.follow` yields."""

    async def go() -> list[Release]:
        key, found = federation.founded.public_keys["release"], []
        async for release in follow(federation.broker_url, federation.plan.federation, key, folder=folder):
            found.append(release)
            if len(found) == count:
                break
        return found

    return asyncio.run(asyncio.wait_for(go(), PATIENCE_S))


def told(release: Release) -> dict[str, Any]:
    """A release as `examples/integrator.mjs` prints it, but for its norm and its manifest's digest."""
    return {
        "version": release.version,
        "window": release.manifest.window,
        "members": release.manifest.members,
        "model": hashlib.sha256(release.model).hexdigest(),
        "tensors": {name: list(tensor.shape) for name, tensor in release.tensors().items()},
    }


def assert_same_releases(program: Program, releases: list[Release]) -> None:
    """What the Node reader printed is what Python's follower yields."""
    printed = program.wait_for(lambda lines: lines and lines[-1]["version"] >= releases[-1].version)
    mine = {release.version: release for release in releases}
    assert [line["version"] for line in printed] == sorted(line["version"] for line in printed)
    for line in printed:
        release = mine[line["version"]]
        assert told(release).items() <= line.items()
        assert line["norm"] == pytest.approx(np.linalg.norm(flat(release.model)))
    following = [release for release in releases if release.version - 1 in {line["version"] for line in printed}]
    digests = {line["version"]: line["manifest"] for line in printed}
    assert [release.manifest.previous for release in following] == [digests[one.version - 1] for one in following]


def rows(federation: Federation, name: str) -> list[tuple[int, str, int]]:
    """Every update of a device in the ledger: the window it names, how it ended, its weight."""
    query = "SELECT named_window, outcome, weight FROM updates WHERE device = ? ORDER BY named_window"
    with closing(sqlite3.connect(federation.ledger_file)) as ledger:
        return ledger.execute(query, (name,)).fetchall()


def moved_by(federation: Federation, message: bytes, invitation: Invitation) -> np.ndarray[Any, np.dtype[np.float64]]:
    """What an update alone moves the mean by: its integers, rotated back, over the goal."""
    plan, payload = federation.plan, message[unseal(message).size :]
    return value(grid_of(plan), read(payload, plan), invitation.seed) / plan.window.goal


pytestmark = pytest.mark.usefixtures("node")


@pytest.fixture(scope="module")
def node() -> None:
    """Skip before anything is started, where there is no Node."""
    need_node("examples")


def test_a_node_device_takes_part_and_is_killed_and_nothing_is_doubled(folder: Path) -> None:
    plan = from_toml(TOML, LINEAR)
    with running(folder, plan, LINEAR, keep_payloads=False) as federation, ExitStack() as stack:
        key = federation.founded.public_keys["release"]
        reader = integrator(federation.processes, federation.broker_url, "pumps", key, folder / "reader.json")
        heard = stack.enter_context(overheard(federation, NODE))
        pumps = Pumps(federation)
        for one in pumps.devices:
            stack.enter_context(Running(one))
        token = federation.founded.token(NODE)
        program = device(federation.processes, federation.broker_url, token, federation.homes / NODE)
        heard.update(1)
        pumps.may_end()
        assert heard.receipt(1).outcome == Counted(release=1, window=1, weight=64)

        before = heard.update(2)
        program.child.kill(signal.SIGKILL)
        program.child.wait(5)
        program.restart()
        assert heard.next() == before[: unseal(before).size]  # it knows that it has sent it, and asks
        pumps.may_end()
        assert heard.receipt(2).outcome == Counted(release=2, window=2, weight=64)

        heard.update(3)
        pumps.may_end()
        assert heard.receipt(3).outcome == Counted(release=3, window=3, weight=64)
        events = program.wait_for(lambda lines: [one["event"] for one in lines].count("counted") == WINDOWS)
        sent = {said.payload for said in heard.up.heard() if said.topic.endswith("/update")}
        assert sent <= set(heard.updates.values())

        releases = taken(federation, 3)
        assert_same_releases(reader, releases)
        ends = {name: rows(federation, name) for name in (NODE, *PUMPS)}
        assert ends == {name: [(window, "counted", 64) for window in (1, 2, 3)] for name in (NODE, *PUMPS)}
        refuse_the_past(federation, reader)

    ids = {window: unseal(message).id for window, message in heard.updates.items()}
    assert {window: receipt.update for window, receipt in heard.receipts.items()} == ids
    assert [one.get("update") for one in events].count(ids[2].hex()) >= 4  # kept, sent, asked in another life, counted
    assert [one["event"] for one in events if one["event"] not in {"sent", "asked"}] == [
        *("belongs", "trains", "kept", "counted"),
        *("trains", "kept", "counted", "trains", "kept", "counted"),
    ]
    assert [window for _, window in receipts(pumps.homes[PUMPS[0]])] == [1, 2, 3]
    assert_moved_by_the_node_alone(federation, releases, heard)


def test_a_node_device_is_counted_by_a_plan_of_one_bit(folder: Path) -> None:
    plan = from_toml(reduce(lambda text, change: text.replace(*change), ONE_BIT, TOML), LINEAR)
    assert (plan.update.codec.name, plan.privacy.mechanism.name, plan.train["proximal"]) == ("drive", "plain", 0.1)
    with running(folder, plan, LINEAR, keep_payloads=False) as federation, ExitStack() as stack:
        heard = stack.enter_context(overheard(federation, NODE))
        pumps = Pumps(federation)
        for one in pumps.devices:
            stack.enter_context(Running(one))
        device(federation.processes, federation.broker_url, federation.founded.token(NODE), federation.homes / NODE)
        for window in (1, 2):
            heard.update(window)
            pumps.may_end()
            assert heard.receipt(window).outcome == Counted(release=window, window=window, weight=64)
        releases = taken(federation, 2)
    assert_moved_by_the_node_alone(federation, releases, heard)


def assert_moved_by_the_node_alone(federation: Federation, releases: list[Release], heard: Overheard) -> None:
    """The pumps change nothing, so each release is the one before it, the Node device's share, and a little noise."""
    before = flat(LINEAR)
    for release in releases:
        window = release.manifest.window
        share = moved_by(federation, heard.updates[window], heard.invitations[window])
        after = flat(release.model)
        assert np.linalg.norm(share) > 100 * NOISE
        assert np.abs(after - before - share).max() < 8 * NOISE / federation.plan.window.goal
        before = after


def refuse_the_past(federation: Federation, reader: Program) -> None:
    """A reader believes neither an old release nor an expired one, though the right key signed them."""
    key = keys.read(federation.folder / "keys", "release")
    newest = reader.lines.seen[-1]["version"]
    first, last = taken(federation, 1)[0].manifest, taken(federation, newest)[-1].manifest
    expired = msgspec.structs.replace(last, version=newest + 1, issued=moment(0), expires=moment(1))
    with Peer(federation.broker.port, "gateway", client_id="forger") as forger:
        for old in (first, expired):
            event = cloud_event("pumps", sign(old, key.sign, key.public_key), old)
            forger.publish(topics.release("pumps"), event, retain=True)
    reader.wait_for_words(
        f"a roll-back to release 1 where we had {newest}", f"refused: release {newest + 1} has expired"
    )


def test_the_node_examples_join_the_demos_federation(folder: Path) -> None:
    """Eleven wrists with numpy and the twelfth with Node: the same plan, the same model, and none is told apart.

    The plan is the demo's, but for a deadline that a machine which is busy with other tests keeps too.
    """
    model = watch.PLAN.with_name("mlp-36-64-7.safetensors").read_bytes()
    plan = from_toml(watch.PLAN.read_text().replace("deadline_s = 6.0", "deadline_s = 60.0"), model)
    names = watch.TRAINING[: plan.window.invited]
    with running(folder, plan, model, keep_payloads=False) as federation:
        key = federation.founded.public_keys["release"]
        reader = integrator(federation.processes, federation.broker_url, plan.federation, key, folder / "reader.json")
        start_fleet(federation, names[1:])
        token = federation.founded.token(names[0])
        home, examples = federation.homes / names[0], csv(names[0], folder / "examples.csv")
        program = device(federation.processes, federation.broker_url, token, home, examples)
        events = program.wait_for(lambda lines: [one["event"] for one in lines].count("counted") == 2)
        ended = rows(federation, names[0])
        newest = max(one["release"] for one in events if one["event"] == "counted")
        releases = taken(federation, newest)
        assert_same_releases(reader, releases)
    assert [row[1:] for row in ended[:2]] == [("counted", 64)] * 2
    assert [release.manifest.members for release in releases[:2]] == [len(names)] * 2
    accuracies = [accuracy(release.tensors()) for release in releases]
    assert accuracies[-1] > 0.5 > accuracy(named(model))


def start_fleet(federation: Federation, names: tuple[str, ...]) -> None:
    """The demo's numpy devices, in a process of their own."""
    environments = {
        name: {
            "MIZZLE_BROKER": federation.broker_url,
            "MIZZLE_HOME": str(federation.homes / name),
            "MIZZLE_TOKEN": federation.founded.token(name),
            "WATCH_WRIST": name,
        }
        for name in names
    }
    wrists = tuple(
        Wrist(name=name, script="examples.device_numpy", environment=environment)
        for name, environment in environments.items()
    )
    path = federation.folder / "fleet.json"
    path.write_bytes(msgspec.json.encode(Fleet(broker_port=federation.broker.port, away_windows=1, wrists=wrists)))
    argv = [sys.executable, "-m", "services.local.fleet", str(path)]
    federation.processes.start("fleet", argv, {"PYTHONPATH": str(CHECKOUT)})
