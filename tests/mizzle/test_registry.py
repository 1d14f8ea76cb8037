"""Plug-ins are found by name, ours first, and whatever is wrong with a name is said."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mizzle import registry
from mizzle.codecs.hadamard import Hadamard
from mizzle.errors import Misconfigured
from mizzle.plan import PlugIn
from mizzle.registry import plug_in


@pytest.fixture
def offering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path, as an installed package would fill it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    registry.forget()
    yield tmp_path
    registry.forget()
    for name in ("stranger", "another"):
        sys.modules.pop(name, None)


def offer(folder: Path, package: str, name: str, value: str, code: str = "") -> None:
    (folder / f"{package}.py").write_text(code)
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[mizzle.codecs]\n{name} = {value}\n")


LEVEL = "import dataclasses\n@dataclasses.dataclass(frozen=True)\nclass Level:\n    height: int = 3\n"


def test_one_of_ours_is_found_by_its_file() -> None:
    assert plug_in("mizzle.codecs", PlugIn(name="hadamard", fields={"bits": 4})) == Hadamard(4)


def test_one_of_an_installed_package_is_found_by_its_entry_point(offering: Path) -> None:
    offer(offering, "stranger", "level", "stranger:Level", LEVEL)
    assert plug_in("mizzle.codecs", PlugIn(name="level", fields={"height": 5})).height == 5


def test_a_package_cannot_take_over_a_name_of_ours(offering: Path) -> None:
    offer(offering, "stranger", "hadamard", "stranger:Level", LEVEL)
    assert plug_in("mizzle.codecs", PlugIn(name="hadamard", fields={"bits": 4})) == Hadamard(4)


def test_two_packages_that_offer_one_name_are_refused(offering: Path) -> None:
    offer(offering, "stranger", "level", "stranger:Level", LEVEL)
    offer(offering, "another", "level", "another:Level", LEVEL)
    with pytest.raises(Misconfigured, match=r"several packages offer a plug-in 'level'.*remove all but one"):
        plug_in("mizzle.codecs", PlugIn(name="level"))


def test_what_is_no_dataclass_is_refused(offering: Path) -> None:
    offer(offering, "stranger", "level", "stranger:Level", "def Level(): ...")
    with pytest.raises(Misconfigured, match="is to be a frozen dataclass"):
        plug_in("mizzle.codecs", PlugIn(name="level"))


def test_a_name_that_nobody_offers_is_refused_with_where_it_was_looked_for() -> None:
    with pytest.raises(Misconfigured, match=r"no plug-in 'nothing' in mizzle/codecs/.* group mizzle\.codecs"):
        plug_in("mizzle.codecs", PlugIn(name="nothing"))


def test_a_fault_inside_a_plug_in_is_not_taken_for_its_absence(offering: Path) -> None:
    offer(offering, "stranger", "level", "stranger:Level", "import no_such_thing_at_all")
    with pytest.raises(ModuleNotFoundError, match="no_such_thing_at_all"):
        plug_in("mizzle.codecs", PlugIn(name="level"))
