"""The demo's wrists for docker-compose: their tokens are made and let in at the broker, once.

    python -m services.local.wrists FOLDER

It writes FOLDER/fleet.json for `services.local.fleet`; with the file there already, it does nothing. Like the
operator's command it reads MIZZLE_LEDGER, MIZZLE_FEDERATION and MIZZLE_BROKER_PASSWORDS. Where the broker is, the
fleet is told by its own environment.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from examples.watch import TRAINING
from mizzle.device.enrol import broker_password, parse
from services.ledger.accounts import admit
from services.ledger.founding import Founded, open_founded
from services.ledger.private import write_private
from services.local.fleet import Fleet, Wrist

if TYPE_CHECKING:
    from collections.abc import Mapping


def admitted(founded: Founded, passwords: Path, folder: Path) -> Fleet:
    """A fleet of every wrist that trains, each with a token and an account at the broker, homes in `folder`."""
    tokens = {wrist: founded.token(wrist) for wrist in TRAINING}
    admit(passwords, {wrist: broker_password(parse(token).secret) for wrist, token in tokens.items()})
    wrists = tuple(
        Wrist(
            name=wrist,
            script="examples.device_numpy",
            environment={
                "MIZZLE_HOME": str(folder / wrist),
                "MIZZLE_TOKEN": token,
                "WATCH_WRIST": wrist,
            },
        )
        for wrist, token in tokens.items()
    )
    return Fleet(broker_port=0, away_windows=0, wrists=wrists)  # nobody's network is cut


def main(folder: Path, environment: Mapping[str, str]) -> None:
    """Write the fleet's file, unless it is there."""
    file = folder / "fleet.json"
    if file.exists():
        return
    founded = open_founded(environment["MIZZLE_LEDGER"], environment["MIZZLE_FEDERATION"])
    fleet = admitted(founded, Path(environment["MIZZLE_BROKER_PASSWORDS"]), folder)
    write_private(file, msgspec.json.encode(fleet).decode())


if __name__ == "__main__":
    main(Path(sys.argv[1]), os.environ)
