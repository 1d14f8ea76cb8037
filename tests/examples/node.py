"""The two Node examples as children of a running federation, and what they print."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from examples import watch
from services.local.sight import Lines
from tests.lives import CHECKOUT
from tests.node import need_node

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.local.child import Child
    from services.local.processes import Processes

EXAMPLES = CHECKOUT / "examples"
PATIENCE_S = 60.0


@dataclass
class Program:
    """A Node program that runs, and the JSON lines that it has printed, in all of its lives."""

    processes: Processes
    child: Child
    lines: Lines

    @classmethod
    def start(cls, processes: Processes, name: str, argv: list[str], env: dict[str, str]) -> Self:
        """Start a program of `examples/`."""
        child = processes.start(name, [*need_node("examples"), *argv], env)
        return cls(processes, child, Lines(child.log))

    def restart(self) -> None:
        """Start it again after its end."""
        self.child = self.processes.restart(self.child.name)

    def wait_for(self, claim: Callable[[list[dict[str, Any]]], Any]) -> list[dict[str, Any]]:
        """All that it has printed, once `claim` holds of that."""
        until = time.monotonic() + PATIENCE_S
        while not claim(self.lines.seen):
            for child in self.processes.tend(0.02):
                assert child is not self.child, child.last_words
            self.lines.new()
            assert time.monotonic() < until, f"{self.child.name} has printed {self.lines.seen}, {self.child.last_words}"
        return self.lines.seen

    def wait_for_words(self, *words: str) -> None:
        """Return once each of the words stands in its log."""
        self.wait_for(lambda _: all(word in self.child.log.read_text() for word in words))


def device(processes: Processes, broker_url: str, token: str, home: Path, csv: Path | None = None) -> Program:
    """`examples/device.mjs`, with the examples of a file, or those that it makes up."""
    env = {"MIZZLE_BROKER": broker_url, "MIZZLE_HOME": str(home), "MIZZLE_TOKEN": token, "MIZZLE_CSV": str(csv or "")}
    return Program.start(processes, home.name, [str(EXAMPLES / "device.mjs")], env)


def integrator(processes: Processes, broker_url: str, federation: str, key: bytes, state: Path) -> Program:
    """`examples/integrator.mjs`."""
    argv = [str(EXAMPLES / "integrator.mjs"), broker_url, federation, key.hex(), str(state)]
    return Program.start(processes, state.stem, argv, {})


def csv(name: str, path: Path) -> Path:
    """The examples of a wrist as `examples/device.mjs` reads them: 36 figures and a label a line."""
    inputs, labels = watch.wrist(name)
    with path.open("w") as file:
        file.writelines(f"{','.join(map(repr, x.tolist()))},{label}\n" for x, label in zip(inputs, labels, strict=True))
    return path
