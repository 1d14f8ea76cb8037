"""The system, empty or with simulated wrists: everything runs, and whoever wants to begin is told how."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from itertools import cycle, islice
from typing import TYPE_CHECKING

from rich.console import Console

from examples.watch import PLAN, TRAINING
from mizzle.errors import Misconfigured
from services.ledger.founding import planned, without_end
from services.ledger.private import write_private
from services.local.federation import ROOT, running
from services.local.fleet import Fleet, Wrist
from services.local.fleets import start_fleet
from services.local.janitor import workplace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from services.local.federation import Federation

Settings = dict[str, str]
"""What a program is given in its environment."""


def up(plan_file: Path | None, devices: tuple[str, ...], wrists: int, handed_out: Path | None) -> None:
    """Run a federation of the plan until this process is told to end; a token is printed for each of `devices`.

    So many of the demo's simulated `wrists` take part beside them. What each device and a reader of releases need is
    written into the folder `handed_out` as well, as NAME.env for a shell, and is gone with the federation.

    Raises:
        Misconfigured: the plan, or something that the federation needs, is wrong or missing.
    """
    console = Console(highlight=False, soft_wrap=True)  # a line that is to be copied stays one
    if handed_out is not None:
        _make(handed_out)
    plan, model = planned(plan_file or PLAN)
    if plan_file is None:  # the demo ends after so many windows; whoever is up stays
        plan = without_end(plan)
    with workplace() as folder, running(folder, plan, model, keep_payloads=False) as federation:
        data = cycle(TRAINING)
        own = {device: _settings(federation, device, next(data)) for device in devices}
        reader = {
            "MIZZLE_BROKER": federation.broker_url,
            "FEDERATION": plan.federation,
            "RELEASE_KEY": federation.founded.public_keys["release"].hex(),
        }
        with _written(handed_out, {**own, "reader": reader}):
            if wrists:
                others = {f"wrist-{wrist}": wrist for wrist in islice(data, wrists)}
                _start(federation, {name: _settings(federation, name, wrist) for name, wrist in others.items()})
            _tell(console, federation, own, reader)
            _tend(console, federation)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Misconfigured(f"--env names a folder, there or to be made; got {folder}: {error.strerror}") from error


def _settings(federation: Federation, device: str, wrist: str) -> Settings:
    """Those of a device that learns from this wrist's data; its home goes when the federation goes."""
    return {
        "MIZZLE_BROKER": federation.broker_url,
        "MIZZLE_HOME": str(federation.homes / device),
        "MIZZLE_TOKEN": federation.founded.token(device),
        "WATCH_WRIST": wrist,
    }


@contextmanager
def _written(folder: Path | None, settings: Mapping[str, Settings]) -> Iterator[None]:
    """A file for each name while this lasts; they hold tokens, so only their owner may read them."""
    files = {} if folder is None else {folder / f"{name}.env": given for name, given in settings.items()}
    try:
        for file, given in files.items():
            write_private(file, "".join(f"export {name}={value}\n" for name, value in given.items()))
        yield
    finally:
        for file in files:
            file.unlink(missing_ok=True)


def _start(federation: Federation, wrists: Mapping[str, Settings]) -> None:
    """Simulated devices, in a process of their own; nobody's network is cut."""
    fleet = Fleet(
        broker_port=federation.broker.port,
        away_windows=0,
        wrists=tuple(Wrist(name=name, script="examples.device_numpy", environment=own) for name, own in wrists.items()),
    )
    start_fleet(federation.processes, "fleet", fleet, keep=True)


def _tell(console: Console, federation: Federation, devices: Mapping[str, Settings], reader: Settings) -> None:
    plan = federation.plan
    console.print(
        f"Federation {plan.federation} runs: broker {federation.broker_url}, logs in {federation.folder}/log."
    )
    for device, own in devices.items():
        console.print(f"\nTo enrol {device}, run this beside its training script:")
        told = " ".join(f"{name}={value}" for name, value in own.items())
        console.print(f"  cd {ROOT} && {told} {sys.executable} -m examples.device_numpy")
    console.print(
        f"\nTo follow its releases:\n  cd {ROOT} && {sys.executable} -m examples.integrator {' '.join(reader.values())}"
    )
    console.print(
        f"\nA window opens as soon as {plan.window.invited} devices are there, or {plan.window.quorum} after a while."
    )
    console.print("Ctrl-C ends it and leaves nothing behind.")


def _tend(console: Console, federation: Federation) -> None:
    while True:
        for child in federation.processes.tend(1.0):
            console.print(f"{child.name} ended with {child.returncode} and is started again; see {child.log}")
