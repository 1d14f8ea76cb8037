"""The parts that are stored before they are acknowledged: what a kill leaves of them, and what is left in the end."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.gateway.comings import Comings
from services.gateway.receive import Part
from services.runtime.payloads import SpoolFull

FIRST, SECOND, THIRD = (bytes([number]) * 1000 for number in (1, 2, 3))


def part(body: bytes, device: str = "pump-7", *, begins: bool = False) -> Part:
    return Part(device, body, begins)


def filled(folder: Path, *bodies: bytes) -> Comings:
    comings = Comings(folder)
    comings.add(part(bodies[0], begins=True))
    for body in bodies[1:]:
        comings.add(part(body))
    return comings


def resumed(comings: Comings) -> dict[str, list[bytes]]:
    """What is given to whoever resumes, and takes all of it."""
    found: dict[str, list[bytes]] = {}

    def take(device: str, stored: Iterator[bytes]) -> bool:
        found[device] = list(stored)
        return bool(found[device])

    comings.resume(take)
    return found


def test_what_was_added_is_there_for_the_next_gateway_in_its_order(tmp_path: Path) -> None:
    filled(tmp_path, FIRST, SECOND, THIRD).add(part(SECOND, "mill-1", begins=True))
    assert resumed(Comings(tmp_path)) == {"mill-1": [SECOND], "pump-7": [FIRST, SECOND, THIRD]}


@pytest.mark.parametrize("cut", [1, 500, 999, 1000, 1003])
def test_what_a_kill_cut_short_is_no_part_and_is_written_over(tmp_path: Path, cut: int) -> None:
    filled(tmp_path, FIRST, SECOND)
    file = tmp_path / "pump-7"
    file.write_bytes(file.read_bytes()[:-cut])
    again = Comings(tmp_path)
    assert resumed(again) == {"pump-7": [FIRST]}
    again.add(part(THIRD))
    assert resumed(Comings(tmp_path)) == {"pump-7": [FIRST, THIRD]}


def test_what_cannot_be_a_part_ends_what_is_read(tmp_path: Path) -> None:
    filled(tmp_path, FIRST)
    with (tmp_path / "pump-7").open("ab") as file:
        file.write(b"\xff" * 2_000_000)
    assert resumed(Comings(tmp_path)) == {"pump-7": [FIRST]}


def test_what_nothing_can_be_made_of_is_removed(tmp_path: Path) -> None:
    (tmp_path / "pump-7").write_bytes(b"\0\0")
    assert resumed(Comings(tmp_path)) == {"pump-7": []}
    assert list(tmp_path.iterdir()) == []


def test_an_update_that_begins_takes_the_place_of_another_one(tmp_path: Path) -> None:
    filled(tmp_path, FIRST, SECOND).add(part(THIRD, begins=True))
    assert resumed(Comings(tmp_path)) == {"pump-7": [THIRD]}


def test_of_what_has_ended_nothing_is_left_and_a_later_part_of_it_is_none(tmp_path: Path) -> None:
    comings = filled(tmp_path, FIRST, SECOND)
    comings.end("pump-7", "mill-1")
    comings.add(part(THIRD))
    comings.end("pump-7")
    assert list(tmp_path.iterdir()) == []


def test_what_the_disk_does_not_take_is_waited_for(tmp_path: Path) -> None:
    comings = filled(tmp_path / "full", FIRST)
    (tmp_path / "full" / "mill-1").mkdir()
    with pytest.raises(SpoolFull, match="a part cannot be written to"):
        comings.add(part(FIRST, "mill-1", begins=True))


def test_a_folder_that_somebody_removed_is_made_again_and_the_part_waited_for(tmp_path: Path) -> None:
    comings = Comings(tmp_path / "coming")
    (tmp_path / "coming").rmdir()
    with pytest.raises(SpoolFull):
        comings.add(part(FIRST, begins=True))
    comings.add(part(FIRST, begins=True))
    assert resumed(Comings(tmp_path / "coming")) == {"pump-7": [FIRST]}
