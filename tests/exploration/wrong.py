"""Systems that are wrong in one thing, each a small patch of the right one, and the claim that each of them breaks.

They are what somebody might write who has not thought of a crash. If the explorer could not tell them from the right
one, it would prove nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from sqlalchemy import select, update

from mizzle.codec import decode
from mizzle.envelope import Purpose, seal, unseal
from mizzle.errors import Fenced
from mizzle.messages import Answer, Candidate, Charge, Message, Receipt, Release, Verdict
from mizzle.moves import Ground, Moved, Tick, Told
from services.aggregator import combine
from services.ledger.engine import reading, writing
from services.ledger.ledger import Ledger
from services.ledger.tables import BUDGETS, CHARGES, UPDATES
from services.privacy_accountant.book import book
from services.releaser import release
from services.runtime.service import Booking
from services.runtime.stage import Stage
from tests.exploration.streams import Held
from tests.exploration.system import System, services
from tests.exploration.world import Faults

Clock = Callable[[], int]


@dataclass(frozen=True)
class Wrong:
    """A wrong system, the faults that bring it to light, and the claim that it then breaks."""

    system: System
    claim: str
    faults: Faults


def known(ledger: Ledger, bookings: Sequence[Booking]) -> set[bytes]:
    """The updates among the verdicts that the ledger has already."""
    with reading(ledger.engine) as tx:
        there = set(tx.execute(select(UPDATES.c.id)).scalars())
    return {one.told.message.id for one in bookings if isinstance(one.told.message, Verdict)} & there


def unkeyed(ledger: Ledger, ground: Ground, epoch: int, bookings: Sequence[Booking], clock: Clock) -> list[Message]:
    """Charges whatever comes, also what comes again."""
    again = known(ledger, bookings)
    said = book(ledger, ground, epoch, bookings, clock)
    with writing(ledger.engine) as tx:
        for device, loss in tx.execute(select(CHARGES.c.device, CHARGES.c.loss).where(CHARGES.c.update.in_(again))):
            more = {"reserved": BUDGETS.c.reserved + loss}
            tx.execute(update(BUDGETS).where(BUDGETS.c.device == device).values(more))
    return said


def silent(ledger: Ledger, ground: Ground, epoch: int, bookings: Sequence[Booking], clock: Clock) -> list[Message]:
    """Drops what it has seen before: a set of known ids, as in many a stream processor."""
    again = known(ledger, bookings)
    fresh = [one for one in bookings if not isinstance(one.told.message, Verdict) or one.told.message.id not in again]
    return book(ledger, ground, epoch, fresh, clock)


def recomputed(ledger: Ledger, ground: Ground, epoch: int, bookings: Sequence[Booking], clock: Clock) -> list[Message]:
    """Makes a receipt when it is wanted, instead of reading it back."""

    def anew(said: Message) -> Message:
        if not isinstance(said, Answer):
            return said
        receipt = decode(unseal(said.sealed).header, Receipt)
        now = clock()
        sealed = seal(msgspec.structs.replace(receipt, at=now), Purpose.RECEIPT, ground.signer, 0, now)
        return msgspec.structs.replace(said, sealed=sealed)

    return [anew(said) for said in book(ledger, ground, epoch, bookings, clock)]


def hasty(ground: Ground, state: release.State, event: Told | Tick) -> Moved[release.State]:
    """A releaser that says the release when it has signed it, and has it charged beside."""
    moved = release.step(ground, state, event)
    signed = tuple(message.release for message in moved.booked if isinstance(message, Candidate))
    return replace(moved, said=(*moved.said, *signed))


def forgetful(ground: Ground, state: combine.State, event: Told | Tick) -> Moved[combine.State]:
    """An aggregator that adds every charge, also one that it has added."""
    match event:
        case Told(Charge() as charge, attached) if state.gathering and charge.id in state.gathering.members:
            part = state.gathering.members.pop(charge.id)
            moved = combine.step(ground, state, Told(charge, attached))
            state.gathering.members.setdefault(charge.id, part)
            return moved
        case _:
            return combine.step(ground, state, event)


class RedisFirst(Stage[Any]):
    """A loop that commits how far it has read, and only then does what is to be done about it."""

    def _settle(self, work: Any, cursors: Mapping[str, str]) -> None:
        self._commit(work.state, cursors)
        super()._settle(work, cursors)


class Unwary(Stage[Any]):
    """A loop that looks only whether its epoch is still the newest: what ours was until this was explored."""

    def _beat(self, now: int) -> None:
        del now
        if self._stores.log.holder() != self._place.epoch:
            raise Fenced("another epoch holds the place")


def by_epoch(held: Held | None, epoch: int, version: int) -> bool:
    """A commit that carries no version."""
    del version
    return held is not None and held.epoch == epoch


def unfenced(held: Held | None, epoch: int, version: int) -> bool:
    """A commit that carries neither."""
    del held, epoch, version
    return True


def with_step(name: str, step: Any) -> System:
    """The right system but for the step of one service."""
    right = services()
    return System(services={**right, name: replace(right[name], step=step)})


def saying_releases() -> System:
    """The system with the hasty releaser, whose place in the flow lets it say what it says."""
    system = with_step("releaser", hasty)
    releaser = system.services["releaser"]
    place = replace(releaser.hop, says={**releaser.hop.says, Release: ("released",)})
    return replace(system, services={**system.services, "releaser": replace(releaser, hop=place)})


WRONG = {
    "a charge without a key": Wrong(System(book=unkeyed), "I17", Faults(crash=1)),
    "a release before its charge": Wrong(saying_releases(), "I17", Faults()),
    "a commit without epoch and version": Wrong(System(fence=unfenced), "I6", Faults(stop=1)),
    "a commit without version": Wrong(System(fence=by_epoch), "I6", Faults(back=1, deadlines=0)),
    "deduplication by silence": Wrong(System(book=silent), "I31", Faults(crash=1)),
    "an outbox that is cleared on PUBACK": Wrong(System(clears="puback"), "I31", Faults(lose=1)),
    "a receipt that is made again": Wrong(System(book=recomputed), "I1", Faults(repeat=1)),
    "a member that is counted as often as it comes": Wrong(with_step("aggregator", forgetful), "I10", Faults(crash=1)),
    "Redis before the ledger": Wrong(System(loop=RedisFirst), "I31", Faults(crash=1)),
    "a pulse without version": Wrong(System(loop=Unwary), "I31", Faults(back=1, deadlines=0)),
    "epochs from Redis": Wrong(System(epochs="redis"), "I6", Faults(stop=1, empty=1)),
}
