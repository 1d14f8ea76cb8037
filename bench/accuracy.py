"""What a code costs in accuracy: the task of `bench.mnist`, trained in floats and through every codec.

    python -m bench.accuracy --seeds 0 1 2 --json FILE

Each codec's updates go through the whole federation of `bench.flow`: trained, clipped, coded and sealed on a device,
received, judged, charged, summed, released. The peer is `float`: the same cohorts, whose devices train with the same
shuffling, averaged as they are. Data, first weights and cohorts are functions of the seed, and codecs draw from a
stream of their own, so that a difference is the code's. The control must fail, or the bench sees nothing.

Exit: 0 if 4 bits, 2 bits and 1 bit are within .003 of float on the mean of the seeds and the control is below .5;
1 if not; 2 usage; 4 the data cannot be had.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import numpy as np
from rich.console import Console
from rich.table import Table

from bench import coin, mnist
from bench.flow import Flow
from bench.perceptron import Examples, accuracy, first_weights, trained
from mizzle.device.effects import Train
from mizzle.device.events import Trained
from mizzle.device.training import Trainer
from mizzle.errors import Away, Forged
from mizzle.messages import Invitation, ModelRef
from mizzle.model import filled, flat
from mizzle.moves import Tick
from mizzle.payload import written
from mizzle.plan import from_toml
from mizzle.terms import bound_of
from services.ledger import windows
from services.ledger.engine import reading

if TYPE_CHECKING:
    from collections.abc import Callable

    from mizzle.device.training import Encode
    from mizzle.grid import Vector
    from mizzle.plan import Plan

OK, NOT_WITHIN, NOT_THERE = 0, 1, 4

FLOAT: Final = "float"
CONTROL: Final = "control"
CODECS: Final = {
    "8 bits": 'codec = "hadamard"\nbits = 8\nclip = 64.0',
    "4 bits": 'codec = "hadamard"\nbits = 4\nclip = 64.0',
    "2 bits": 'codec = "drive"\nbits = 2\nclip = 64.0',
    "1 bit": 'codec = "drive"\nbits = 1\nclip = 64.0',
    "top 1 %, feedback": 'codec = "topk"\nshare = 0.01\nclip = 64.0',
    "top 1 %": 'codec = "topk"\nshare = 0.01\nerror_feedback = false\nclip = 64.0',
    CONTROL: 'codec = "coin"\nclip = 4096.0',
}
"""The lines of a plan's [update] table, by the name in the report.

No clip binds an honest update, of which the longest has a norm of 3. The control's is wider still: what it carries over
is to grow as it does without a clip, and 2^-21 of that is yet a fine enough unit.
"""

JUDGED: Final = ("4 bits", "2 bits", "1 bit")
TOLERANCE: Final = 0.003
DIVERGED: Final = 0.5

START_MS: Final = 4_102_444_800_000  # 2100: a device's task also looks at this machine's clock, and must not be late
TURN_MS: Final = 60_000

PLAN: Final = """
schema = 1
federation = "bench"
model = "perceptron.safetensors"
[train]
epochs = 1
batch_size = 10
learning_rate = 0.1
[window]
mode = "rounds"
goal = {cohort}
quorum = {cohort}
invite = 1.0
deadline_s = 600.0
[select]
policy = "uniform"
[update]
{update}
[combine]
strategy = "fedavg"
[privacy]
mechanism = "plain"
minimum_crowd = {cohort}
"""


@dataclass(frozen=True)
class Problem:
    """What is to be learned from whom, and from where on: `measured` counts the last windows that are evaluated."""

    devices: Mapping[str, Examples]
    held_out: Examples
    model: bytes
    seed: int
    cohort: int = 10
    rounds: int = 100
    measured: int = 20

    def plan(self, update: str) -> Plan:
        """The plan whose [update] table has these lines."""
        return from_toml(PLAN.format(update=update, cohort=self.cohort), self.model)

    def measure(self, number: int, model: bytes) -> list[float]:
        """The accuracy of the model of window `number`, if it is one of those that are evaluated."""
        return [accuracy(model, self.held_out)] if number > self.rounds - self.measured else []


@dataclass
class Seen:
    """What a fleet's updates came to: how many, how many of them as long as the clip, the bytes of their payloads."""

    updates: int = 0
    clipped: int = 0
    payload_bytes: int = 0

    def note(self, change: Vector, payload: bytes, clip: float) -> None:
        """Count an update whose change was clipped before it was coded."""
        self.updates += 1
        self.clipped += bool(np.linalg.norm(change) > clip * (1 - 1e-9))
        self.payload_bytes += len(payload)


@dataclass(frozen=True)
class Run:
    """How one training went: the mean accuracy over its last windows, and who was in each of them."""

    accuracy: float
    seen: Seen
    cohorts: tuple[tuple[str, ...], ...] = field(repr=False)


@dataclass(frozen=True)
class Row:
    """One line of the report: accuracies by seed, their mean and deviation, and what became of updates."""

    accuracy: float
    deviation: float
    difference: float
    by_seed: tuple[float, ...]
    payload_bytes: float
    clipped: float


def compared(problems: Sequence[Problem], codecs: Mapping[str, str], tell: Callable[[str], None]) -> dict[str, Row]:
    """What every codec comes to on these problems, one a seed, and float as the first of them."""
    runs: dict[str, list[Run]] = {name: [] for name in (FLOAT, *codecs)}
    with coin.offered():
        for problem in problems:
            for name, update in codecs.items():
                runs[name].append(federated(problem, update))
                tell(f"seed {problem.seed}, {name}: {runs[name][-1].accuracy:.4f}")
            cohorts = {runs[name][-1].cohorts for name in codecs}
            if len(cohorts) != 1:
                raise RuntimeError(f"seed {problem.seed} drew {len(cohorts)} different series of cohorts: compare none")
            runs[FLOAT].append(in_floats(problem, *cohorts))
            tell(f"seed {problem.seed}, {FLOAT}: {runs[FLOAT][-1].accuracy:.4f}")
    peer = statistics.fmean(run.accuracy for run in runs[FLOAT])
    return {name: row(of_codec, peer) for name, of_codec in runs.items()}


def row(runs: Sequence[Run], peer: float) -> Row:
    """The line of one codec, whose accuracy is compared with that of `peer`."""
    by_seed = tuple(run.accuracy for run in runs)
    updates = sum(run.seen.updates for run in runs)
    return Row(
        accuracy=statistics.fmean(by_seed),
        deviation=statistics.stdev(by_seed) if len(by_seed) > 1 else 0.0,
        difference=statistics.fmean(by_seed) - peer,
        by_seed=by_seed,
        payload_bytes=sum(run.seen.payload_bytes for run in runs) / updates,
        clipped=sum(run.seen.clipped for run in runs) / updates,
    )


def faults(rows: Mapping[str, Row]) -> list[str]:
    """What is not as it should be, each with its figure."""
    far = [
        f"{name} is {rows[name].difference:+.4f} from float, wanted within {TOLERANCE}"
        for name in JUDGED
        if name in rows and abs(rows[name].difference) > TOLERANCE
    ]
    if CONTROL in rows and rows[CONTROL].accuracy >= DIVERGED:
        far.append(f"the control learned: {rows[CONTROL].accuracy:.4f}, wanted below {DIVERGED}")
    return far


def federated(problem: Problem, codec: str) -> Run:
    """The training through the whole federation, by a plan with these lines in its [update] table."""
    plan, seen, curve = problem.plan(codec), Seen(), list[float]()
    with TemporaryDirectory() as folder:
        flow = Flow(Path(folder), plan, problem.model)
        for device in problem.devices:
            flow.join(device, trainer(problem, device, coding(problem.seed, seen)).do)
        for number in range(1, problem.rounds + 1):
            flow.turn(tick(problem.seed, number))
            curve += problem.measure(number, model_of(flow, number))
        return Run(statistics.fmean(curve), seen, cohorts_of(flow, problem.rounds))


def in_floats(problem: Problem, cohorts: Sequence[Sequence[str]]) -> Run:
    """The training of these cohorts without any code: their changes are averaged as they are."""
    plan, model, seen, curve = problem.plan(CODECS["8 bits"]), problem.model, Seen(), list[float]()
    trainers = {device: trainer(problem, device, bare(seen)) for device in problem.devices}
    for number, cohort in enumerate(cohorts, start=1):
        orders = [Train(invitation(plan, device, number, model), plan, model) for device in cohort]
        changes = [change_in(trainers[order.invitation.device], order) for order in orders]
        model = filled(model, flat(model) + np.mean(changes, axis=0))
        curve += problem.measure(number, model)
    return Run(statistics.fmean(curve), seen, tuple(map(tuple, cohorts)))


def tick(seed: int, number: int) -> Tick:
    """The tick of turn `number`: which cohort it draws depends on nothing else."""
    entropy = hashlib.sha256(f"bench/accuracy {seed} {number}".encode()).digest()
    return Tick(START_MS + number * TURN_MS, entropy)


def trainer(problem: Problem, device: str, encode: Encode) -> Trainer:
    """A device's own trainer, shuffling by the seed, which makes payloads by `encode`."""
    own = problem.devices[device]
    return Trainer(device, lambda task: trained(task, own), problem.seed, encode, lambda _: None)


def coding(seed: int, seen: Seen) -> Encode:
    """Makes payloads as an honest device does, with draws that repeat and that nothing else draws from."""

    def encode(change: Vector, plan: Plan, invited: Invitation) -> bytes:
        draw = np.random.default_rng([seed, invited.window, *invited.device.encode()]).bytes
        payload = written(change, plan, invited.seed, min(invited.bound, bound_of(plan)), draw)
        seen.note(change, payload, plan.update.clip)
        return payload

    return encode


def bare(seen: Seen) -> Encode:
    """Makes payloads that are the change itself, in 64-bit floats; counted as the 32 bits that a device would send."""

    def encode(change: Vector, plan: Plan, invited: Invitation) -> bytes:
        del invited
        seen.note(change, change.astype("<f4").tobytes(), plan.update.clip)
        return change.astype("<f8").tobytes()

    return encode


def change_in(trainer: Trainer, order: Train) -> Vector:
    """What a trainer of bare changes makes of an order."""
    match trainer.do(order).end:
        case Trained(payload=payload):
            return np.frombuffer(payload, "<f8")
        case declined:
            raise RuntimeError(f"{order.invitation.device} did not train: {declined}")


def invitation(plan: Plan, device: str, number: int, model: bytes) -> Invitation:
    """An invitation to train from `model`, as the selector would send it."""
    base = ModelRef(version=number - 1, digest=hashlib.sha256(model).digest(), size=len(model))
    at = START_MS + number * TURN_MS
    return Invitation(
        federation=plan.federation,
        device=device,
        window=number,
        base=base,
        plan=plan.digest,
        epoch=0,
        deadline=at + round(plan.window.deadline_s * 1000),
        seed=bytes(32),
        bound=bound_of(plan),
    )


def model_of(flow: Flow, number: int) -> bytes:
    """The model that turn `number` released, every update of which has its receipt.

    Raises:
        RuntimeError: it released none, or an update still waits; the text says what its device heard last.
    """
    newest = flow.ledger.releases(1)
    waiting = [device for device in flow.devices.values() if device.outbox.waiting()]
    if not newest or newest[0].window != number or waiting:
        notes = [device.notes[-1] for device in waiting or flow.devices.values() if device.notes]
        raise RuntimeError(f"window {number} was not released, or {len(waiting)} updates wait for receipts: {notes}")
    model = flow.ledger.blob(newest[0].model.digest)
    assert model is not None  # noqa: S101  # a release and its bytes are one transaction
    return model


def cohorts_of(flow: Flow, rounds: int) -> tuple[tuple[str, ...], ...]:
    """Who was invited to each window, by the ledger."""
    with reading(flow.ledger.engine) as tx:
        found = [windows.find(tx, flow.ledger.federation, number) for number in range(1, rounds + 1)]
    return tuple(one.window.cohort for one in found if one)


def mnist14(split: str, seed: int, rounds: int) -> Problem:
    """The task `mnist14-mlp`, dealt by `split`; the last fifth of its windows is evaluated."""
    return Problem(
        devices=mnist.shares(split, seed),
        held_out=mnist.digits("t10k"),
        model=first_weights(196, 64, 10, np.random.default_rng([seed, 196])),
        seed=seed,
        rounds=rounds,
        measured=max(1, rounds // 5),
    )


def table(rows: Mapping[str, Row]) -> Table:
    """The report, for people."""
    shown = Table("code", "accuracy", "±", "to float", "payload bytes", "clipped")
    for name, one in rows.items():
        figures = (f"{one.accuracy:.4f}", f"{one.deviation:.4f}", f"{one.difference:+.4f}")
        shown.add_row(name, *figures, f"{one.payload_bytes:,.0f}", f"{one.clipped:.1%}")
    return shown


def main(argv: Sequence[str]) -> int:
    """Measure what the command line asks for, print the report, and give the exit status."""
    asked = _asked(argv)
    out, err, began = Console(), Console(stderr=True), time.monotonic()
    try:
        problems = [mnist14(asked.split, seed, asked.rounds) for seed in asked.seeds]
    except (Away, Forged) as error:
        err.print(str(error))
        return NOT_THERE
    rows = compared(problems, CODECS, err.print)
    wrong, seconds = faults(rows), round(time.monotonic() - began, 1)
    out.print(table(rows), f"split {asked.split}, {asked.rounds} windows, seeds {asked.seeds}, {seconds} s", sep="\n")
    for fault in wrong:
        err.print(fault)
    if asked.json:
        report = {**vars(asked), "json": None, "seconds": seconds, "faults": wrong}
        asked.json.write_text(
            json.dumps({**report, "codes": {name: asdict(one) for name, one in rows.items()}}, indent=2)
        )
    return NOT_WITHIN if wrong else OK


def _asked(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.accuracy", description="What every code costs in accuracy.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--split", default="0.1", help="iid, shards, or the α of Dirichlet (0.1)")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
