"""What the world answers to a loop's questions, and how it changes by them; claims are made where something leaves."""

import hashlib
from typing import Any

from mizzle.codec import encode
from mizzle.errors import Away
from mizzle.plan import Plan
from tests.exploration import claims, streams
from tests.exploration.claims import Broken
from tests.exploration.hands import Question, Refusal
from tests.exploration.shelf import Shelf
from tests.exploration.small import DEVICES, PHASE_MS, START
from tests.exploration.streams import READS, SERVICES, Held, Streams
from tests.exploration.system import System
from tests.exploration.world import Kept, World


class Answers:
    """Redis, the ledger, payloads and clock of a system, in every world; the values that worlds are made of."""

    def __init__(self, system: System, plan: Plan) -> None:
        """Nothing has happened."""
        self.system, self.plan = system, plan
        self.shelf = Shelf(plan, system.book, claims.of_a_booking)
        self.devices = {device.name: device for device in self.shelf.devices}
        self.redis: Kept[Streams] = Kept()
        self._bodies = {device.update: device.payload for device in self.devices.values()}
        self._sums: set[int] = set()

    def stored(self, world: World, device: str) -> World:
        """The gateway's payload store has the payload of a device's update."""
        return world._replace(spool=world.spool | {self.devices[device].update})

    def appended(self, world: World, device: str) -> World:
        """And what the gateway makes of its header is on its stream."""
        (received,) = self.devices[device].taken.said
        return self._on_append(world, "gateway", [("received", encode(received))])[0]

    def emptied(self, world: World) -> World:
        """Redis has forgotten everything."""
        return world._replace(redis=self.redis.number(streams.emptied(self.redis.values[world.redis])))

    def perform(self, world: World, name: str, question: Question) -> tuple[World, Any]:
        """The world after a question, and its answer."""
        try:
            return getattr(self, f"_on_{question[0]}")(world, name, *question[1:])  # type: ignore[no-any-return]
        except Away as away:
            return world, Refusal(type(away))

    def _on_epoch(self, world: World, name: str, _held: int) -> tuple[World, int]:
        at, held = SERVICES.index(name), streams.place(self.redis.values[world.redis], name)
        before = world.epochs[at] if self.system.epochs == "ledger" else (held.epoch if held else 0)
        return world._replace(epochs=(*world.epochs[:at], before + 1, *world.epochs[at + 1 :])), before + 1

    def _on_facts(self, world: World, _name: str) -> tuple[World, tuple[bytes, ...]]:
        return world, self.shelf.facts(world.page)

    def _on_blob(self, world: World, _name: str, digest: bytes) -> tuple[World, bytes | None]:
        return world, self.shelf.blob(world.page, digest)

    def _on_has_open_window(self, world: World, _name: str) -> tuple[World, bool]:
        return world, not self.shelf.has_ended(world.page)

    def _on_blobs(self, world: World, _name: str) -> tuple[World, tuple[str, ...]]:
        payloads = {device.update for device in self.devices.values()}
        return world, tuple(sorted(key.hex() for key in world.spool - payloads))

    def _on_clock(self, world: World, name: str) -> tuple[World, tuple[int, bytes]]:
        # Once there is an aggregate, other bytes: what is made again is made otherwise.
        made = sorted(world.spool.difference(device.update for device in self.devices.values()))
        return world, (self._now(world, name), hashlib.sha256(b"".join(made)).digest())

    def _now(self, world: World, name: str) -> int:
        """Only the aggregator waits for a deadline; to the others the window's end is when time has passed."""
        is_later = world.phase if name == "aggregator" else self.shelf.has_ended(world.page)
        return START + PHASE_MS * is_later

    def _on_take(self, world: World, name: str, epoch: int) -> tuple[World, Any]:
        redis, held = streams.take(self.redis.values[world.redis], name, epoch)
        cursors = tuple(zip(READS[name], (f"{cursor}-0" for cursor in held.cursors), strict=True))
        return world._replace(redis=self.redis.number(redis)), (held.version, held.state, cursors)

    def _on_read(self, world: World, _name: str, cursors: Any, count: int) -> tuple[World, Any]:
        return world, streams.read(self.redis.values[world.redis], _numbers(cursors), count)

    def _on_holder(self, world: World, name: str) -> tuple[World, int]:
        held = streams.place(self.redis.values[world.redis], name)
        return world, held.epoch if held else 0

    def _on_fence(self, world: World, name: str) -> tuple[World, tuple[int, int]]:
        held = streams.place(self.redis.values[world.redis], name)
        return world, held[:2] if held else (0, 0)

    def _on_get(self, world: World, _name: str, key: bytes) -> tuple[World, bytes | None]:
        return world, self._bodies[key] if key in world.spool else None

    def _on_put(self, world: World, _name: str, key: bytes, body: bytes) -> tuple[World, None]:
        self._bodies[key] = body
        return world._replace(spool=world.spool | {key}), None

    def _on_discard(self, world: World, _name: str, key: bytes) -> tuple[World, None]:
        return world._replace(spool=world.spool - {key}), None

    def _on_book(self, world: World, name: str, epoch: int, asked: Any) -> tuple[World, tuple[bytes, ...]]:
        now = self._now(world, name)
        is_newest = epoch == world.epochs[SERVICES.index(name)]
        page, said = self.shelf.book(world.page, asked, now, is_newest=is_newest)
        if page not in self._sums:
            claims.of_a_release(self.shelf.pages[page], self.plan, self._bodies, lambda key: self.shelf.blob(page, key))
            self._sums.add(page)
        return world._replace(page=page), said

    def _on_append(self, world: World, _name: str, outputs: Any) -> tuple[World, None]:
        return world._replace(redis=self.redis.number(streams.append(self.redis.values[world.redis], outputs))), None

    def _on_commit(  # noqa: PLR0913, PLR0917  # what the script is given
        self, world: World, name: str, fence: Any, state: bytes | None, cursors: Any, outputs: Any
    ) -> tuple[World, None]:
        redis = self.redis.values[world.redis]
        after = streams.commit(redis, name, fence, state, _numbers(cursors), outputs, self.system.fence)
        if not streams.fenced(held := streams.place(redis, name), *fence):
            seen = f"what was held was of {_held(held)}"
            raise Broken("I6", f"the {name} of epoch {fence[0]}, version {fence[1]} wrote, and {seen}")
        return world._replace(redis=self.redis.number(after)), None

    def _on_tell(self, world: World, _name: str, bodies: Any) -> tuple[World, None]:
        page, receipts, spool = self.shelf.pages[world.page], list(world.receipts), world.spool
        for answer in claims.of_what_is_told(page, bodies):
            at = DEVICES.index(answer.device)
            claims.of_a_receipt(page, self.devices[answer.device], answer.sealed, receipts[at])
            if not self.devices[answer.device].clears(answer.sealed):
                raise Broken("I4", f"{answer.device} does not believe its receipt")
            receipts[at] = answer.sealed
            spool -= {answer.ends} if answer.ends else set()
        return world._replace(receipts=tuple(receipts), spool=spool), None


def _numbers(cursors: Any) -> dict[str, int]:
    return {name: _number(entry) for name, entry in cursors}


def _number(entry: str) -> int:
    return int(entry.partition("-")[0])


def _held(held: Held | None) -> str:
    return f"epoch {held.epoch}, version {held.version}" if held else "nobody"
