"""The aggregator takes the memory of one window, however many updates come: its process, as the kernel sees it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from bench.proc import peak_mb
from mizzle.messages import Aggregate, Charge, Closed, ModelRef, Window
from mizzle.terms import bound_of, codec_of, grid_of
from mizzle.vocabulary import FULL_WEIGHT
from services.local.processes import Processes
from services.pipeline import hop
from services.runtime.payloads import Spool
from tests.services.grounds import Ear, Grounds, founded, python

SIZE = 100_000
FEW, MANY = 20, 300
LONG = hop("aggregator").holds_back + 14
"""A window of so many is stored once while it is open, and again when it is sealed."""


@dataclass
class Windows:
    """What an accountant says of windows whose updates are alike, each under its own id, and what is made of them."""

    grounds: Grounds
    ear: Ear = field(init=False)
    spool: Spool = field(init=False)
    payload: bytes = field(init=False)
    base: ModelRef = field(init=False)
    number: int = 0

    def __post_init__(self) -> None:
        plan, model, chance = self.grounds.plan, self.grounds.model, np.random.default_rng(0)
        change = chance.standard_normal(SIZE) / SIZE
        self.ear = Ear(self.grounds, "releaser")
        self.spool = Spool(self.grounds.folder / "payloads", 2**30)
        self.payload = codec_of(plan).encode(change, grid_of(plan), bytes(32), bound_of(plan), chance.bytes)
        self.base = ModelRef(version=0, digest=sha256(model).digest(), size=len(model))

    def run(self, members: int) -> None:
        """A window from its opening to its end; the next one starts at the model that it has made."""
        self.number += 1
        charges = [self.charge(place) for place in range(members)]
        for charge in charges:
            self.spool.put(charge.id, self.payload)
        self.grounds.say("charged", self.window(members), *charges)
        said = self.ear.next()
        assert isinstance(said, Aggregate)
        assert len(said.members) == members
        self.base = ModelRef(version=self.number, digest=said.model.digest, size=said.model.size)
        self.grounds.say("charged", Closed(window=self.number))

    def window(self, members: int) -> Window:
        return Window(
            number=self.number,
            base=self.base,
            cohort=(),
            goal=members,
            quorum=members,
            most=members,
            deadline=2**45,
            seed=bytes(32),
            bound=bound_of(self.grounds.plan),
            weight_cap=FULL_WEIGHT,
        )

    def charge(self, place: int) -> Charge:
        update = sha256(b"%d %d" % (self.number, place)).digest()
        return Charge(
            id=update,
            device=f"device-{place}",
            window=self.number,
            weight=FULL_WEIGHT,
            staleness=0,
            spent=1,
            seed=bytes(32),
        )


def peak_after(windows: Windows, pid: int, members: Sequence[int]) -> float:
    """The most memory in MB that the process has held until now, after windows of so many members."""
    for count in members:
        windows.run(count)
    return peak_mb(pid)


def test_many_updates_take_no_more_memory_than_few(
    folder: Path, federation: str, redis_url: str, children: Processes
) -> None:
    """Kept payloads would take 30 MB, kept levels 60; it may take 5, for what the allocator's chance is."""
    grounds = founded(folder, federation, redis_url, model=save({"weight": np.zeros(SIZE, np.float32)}))
    child = children.start("aggregator", python("services.aggregator"), grounds.environ)
    windows = Windows(grounds)
    few = peak_after(windows, child.pid, [FEW, FEW])
    many = peak_after(windows, child.pid, [LONG, MANY - LONG])
    assert many - few < 5 < MANY * len(windows.payload) / 6e6
