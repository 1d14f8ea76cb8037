"""Breadth first through every world that can be reached, and from each of them to its end in a fair world.

The first broken claim that is met is met by a shortest way, which is told as a story.
"""

from dataclasses import dataclass, field

from tests.exploration.claims import Broken
from tests.exploration.moves import Explored
from tests.exploration.small import DEVICES
from tests.exploration.streams import SERVICES
from tests.exploration.world import NO_COPY, Faults, Move, World

RAN_OUT = 5
"""A fair world in which so many deadlines passed, and an update still has no outcome, gives none."""

NOTHING_MOVES = "nothing moves: who has no receipt sends again, and a deadline passes"


@dataclass
class Report:
    """What was seen: how many worlds and moves, and the first claim that was broken, with the way to it."""

    worlds: int = 0
    moves: int = 0
    pages: int = 0
    broken: Broken | None = None
    story: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """The figures, and the story."""
        figures = f"{self.worlds} worlds, {self.moves} moves, {self.pages} contents of the ledger"
        if self.broken is None:
            return f"{figures}: nothing is broken"
        lines = [f"{number}. {words}" for number, words in enumerate(self.story, 1)]
        return "\n".join([f"{figures}: {self.broken}", *lines])


def explore(explored: Explored, faults: Faults) -> Report:
    """Every world that can be reached with at most these faults, or the first broken claim."""
    first = explored.first(faults)
    came: dict[World, tuple[World, str] | None] = {first: None}
    report, level, good = Report(), [first], set[World]()
    while level and report.broken is None:
        following: list[World] = []
        for world in level:
            try:
                for words, after in explored.moves(world):
                    report.moves += 1
                    if after not in came:
                        came[after] = (world, words)
                        following.append(after)
                ends(explored, world, good)
            except Broken as broken:
                report.broken, report.story = broken, [*_way(came, world), *getattr(broken, "__notes__", [])]
                break
        level = following
    report.worlds, report.pages = len(came), len(explored.answers.shelf.pages)
    return report


def ends(explored: Explored, world: World, good: set[World]) -> None:
    """Return if every update gets its receipt from here on without another fault; `good` are worlds that do (I31).

    Raises:
        Broken: it does not, or a claim is broken on the way.
    """
    world = world._replace(left=Faults(), copy=NO_COPY)
    passed, until = dict[World, str](), world.phase + RAN_OUT
    try:
        while world not in good and not explored.is_over(world):
            passed[world] = ""
            passed[world], world = fair(explored, world)
            if world.phase > until or world in passed:
                raise _unended(world, in_circles=world in passed)
    except Broken as broken:
        told = [*_shortened([*filter(None, passed.values())]), *getattr(broken, "__notes__", [])]
        broken.__notes__ = ["no fault comes from here on", *told]
        raise
    good.update(passed)


def fair(explored: Explored, world: World) -> Move:
    """What happens next where nothing goes wrong: everybody turns; when nothing moves, devices send and time passes."""
    for name in SERVICES:
        move = explored.turn(world, name)
        if move.world != world:
            return move
    if world.twin is not None:
        return explored.woken(world)
    for device in sorted(world.carried):
        return explored.taken_in(world, device)
    for device, receipt in zip(DEVICES, world.receipts, strict=True):
        if receipt is None and explored.holds(world, device):
            world = explored.sent(world, device).world
    return Move(NOTHING_MOVES, explored.later(world))


def _shortened(told: list[str]) -> list[str]:
    """The story as far as its second round without anything new."""
    rounds = [at for at, words in enumerate(told) if words == NOTHING_MOVES]
    return told if len(rounds) < RAN_OUT else [*told[: rounds[2]], "and so on"]


def _unended(world: World, *, in_circles: bool) -> Broken:
    waits = [device for device, receipt in zip(DEVICES, world.receipts, strict=True) if receipt is None]
    when = "all go round in circles" if in_circles else f"{RAN_OUT} deadlines have passed"
    return Broken("I31", f"{when}, and {' and '.join(waits)} got no receipt")


def _way(came: dict[World, tuple[World, str] | None], world: World) -> list[str]:
    words = []
    while (step := came[world]) is not None:
        world = step[0]
        words.append(step[1])
    return words[::-1]
