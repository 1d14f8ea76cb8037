"""Devices that live, lose their line, lose power and come back, each the real life over the real outbox."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from mizzle.codec import decode
from mizzle.device.effects import Train
from mizzle.device.events import Condition, Declined
from mizzle.device.life import Life, Surroundings
from mizzle.device.states import Fetching, Me, Stranger
from mizzle.device.training import Done
from mizzle.envelope import unseal
from mizzle.messages import Identity
from mizzle.transport.bus import Bus, Will
from tests.simulation.lines import Line, connect, vanish
from tests.simulation.points import Killed, PointedOutbox

if TYPE_CHECKING:
    from tests.simulation.around import Around


class Device:
    """One device for all of its lives; `outbox` and key are what its disk keeps."""

    def __init__(self, world: "Around", name: str) -> None:
        """A device that is switched off."""
        self.name, self._world = name, world
        self._reach = partial(world.reach, self)
        self.outbox = PointedOutbox(
            partial(world.now_of, name), self._reach, partial(world.kept, name), partial(world.cleared, name)
        )
        self._life: Life | None = None
        self._line: Line | None = None
        self._due = 0
        self.absent = False
        self.trains = True

    @property
    def is_alive(self) -> bool:
        """Whether it has power."""
        return self._life is not None

    def is_over(self) -> bool:
        """Never: it may come back."""
        return False

    def wake(self) -> None:
        """Switch it on."""
        if self._life is not None:
            return
        founding = self._world.founding
        sealed = self.outbox.identity
        rights = decode(unseal(sealed).header, Identity) if sealed else founding.tokens[self.name]
        me = Me(rights.federation, self.name, founding.device_keys[self.name])
        surroundings = Surroundings(
            tick=partial(self._world.tick_of, self.name),
            sensed=Condition,
            beside=self._beside,
        )
        self._life = Life(me, rights, self.outbox, self._connect, self._train, surroundings=surroundings)
        self._guarded(self._life.wake)
        self._world.scheduler.wake(self)

    def act(self) -> bool:
        """Take one thing that has happened, or see what the time is."""
        life = self._life
        if life is None:
            return False
        self._guarded(partial(life.turn, 0))
        if self._life is None:
            return False
        self._come_back_when_due(self._life)
        return not self._life._inbox.empty()

    def die(self) -> None:
        """Lose power; the outbox stays."""
        self._life = None
        if self._line is not None:
            self._line.drop()
            vanish(self._world.broker, self._line.inner)
            self._line = None

    def leave(self) -> None:
        """Lose the line until `come_back`."""
        self.absent = True
        self._world.broker.cut(self.name)

    def come_back(self) -> None:
        """Have a line again, and power."""
        self.absent = False
        self._world.broker.mend(self.name)
        self.wake()

    def _guarded(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Killed:
            self.die()

    def _connect(self, name: str, will: Will | None) -> Bus:
        world, faults = self._world, self._world.faults
        bus = connect(world.broker, name, will=will)
        if self.absent:
            world.broker.cut(name)
        heard, later = partial(world.scheduler.wake, self), world.scheduler.after
        going, coming = partial(faults.from_device, name), partial(faults.to_device, name)
        self._line = world.made_line(self, Line(bus, later, going, coming, heard=heard, reach=self._reach))
        return self._line

    def _train(self, order: Train) -> Done:
        window = order.invitation.window
        if not self.trains:
            return Done(Declined(window, "resting"))
        return Done(self._world.founding.trained(self.name, order.invitation, self._world.draw))

    def _beside(self, task: Callable[[], None], _name: str) -> None:
        """A task takes some seconds, and its device may die meanwhile."""
        life = self._life

        def done() -> None:
            if self._life is life:
                task()
                self._world.scheduler.wake(self)

        self._world.scheduler.after(self._world.draw.randrange(500, 3000), done)

    def _come_back_when_due(self, life: Life) -> None:
        state = life.state
        dues = [waiting.due for waiting in state.waiting] if state.online else []
        if isinstance(state.work, Fetching):
            dues.append(state.work.invitation.deadline)
        if isinstance(state.belonging, Stranger) and state.online:
            dues.append(state.belonging.due)
        if not dues:
            return
        scheduler = self._world.scheduler
        due = max(scheduler.now + 1, min(dues) - self._world.offset_of(self.name))
        if not scheduler.now < self._due <= due:
            self._due = due
            scheduler.at(due, partial(scheduler.nudge, self))
