"""Evidence of any kind is judged, and never stops the judge."""

import random
from pathlib import Path
from typing import Any

import pytest

from tests.examples.judge.aging import resumed, tidied
from tests.examples.judge.maker import Row, Tables, World, judged, world

AGED = {"past_updates", "past_devices", "restorations", "surcharges", "audit"}
EDITS = (None, 0, -1, 1 << 62, "", "x", b"", b"\x00", bytes(32), "[1]", '{"members":[1,"zz"],"version":"x"}')


def tables(made: World) -> list[Tables]:
    return [made.ledger, *made.homes.values()]


def altered(value: Any, dice: random.Random) -> Any:
    """Another value: one bit of its bytes turned, or something else altogether."""
    if isinstance(value, bytes) and value and dice.random() < 0.7:
        place = dice.randrange(len(value))
        return value[:place] + bytes([value[place] ^ (1 << dice.randrange(8))]) + value[place + 1 :]
    return dice.choice(EDITS)


def corrupted(made: World, dice: random.Random) -> World:
    for _ in range(4):
        rows: list[Row] = [row for one in tables(made) for table in one.values() for row in table]
        row = dice.choice(rows)
        name = dice.choice(list(row))
        row[name] = altered(row[name], dice)
    return made


@pytest.mark.parametrize("seed", range(60))
def test_no_altered_cell_stops_the_judge(seed: int, tmp_path: Path) -> None:
    judged(corrupted(world(), random.Random(seed)), tmp_path, earlier=world())


def aged(made: World) -> World:
    """With all but the rows of what is left of clean-up and restorations made rare."""
    made.ledger = {table: rows if table in AGED else rows[:2] for table, rows in made.ledger.items()}
    return made


@pytest.mark.parametrize("seed", range(40))
def test_no_altered_cell_of_what_age_leaves_stops_the_judge(seed: int, tmp_path: Path) -> None:
    story = (tidied, resumed)[seed % 2]
    judged(corrupted(aged(story()), random.Random(seed)), tmp_path, earlier=story())
