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


def test_a_dataclass_that_is_not_frozen_is_refused(offering: Path) -> None:
    """It could remember something from one window to the next, and no window could be made again."""
    offer(offering, "stranger", "level", "stranger:Level", LEVEL.replace("frozen=True", "frozen=False"))
    with pytest.raises(Misconfigured, match="is to be a frozen dataclass"):
        plug_in("mizzle.codecs", PlugIn(name="level"))


def test_a_name_that_nobody_offers_is_refused_with_where_it_was_looked_for() -> None:
    with pytest.raises(Misconfigured, match=r"no plug-in 'nothing' in mizzle/codecs/.* group mizzle\.codecs"):
        plug_in("mizzle.codecs", PlugIn(name="nothing"))


def test_a_fault_inside_a_plug_in_is_not_taken_for_its_absence(offering: Path) -> None:
    offer(offering, "stranger", "level", "stranger:Level", "import no_such_thing_at_all")
    with pytest.raises(Misconfigured, match=r"ModuleNotFoundError: No module named 'no_such_thing_at_all'"):
        plug_in("mizzle.codecs", PlugIn(name="level"))


@pytest.mark.parametrize(
    ("value", "code", "why"),
    [
        ("strange:Level", LEVEL, "ModuleNotFoundError: No module named 'strange'"),
        ("stranger:Lever", LEVEL, "AttributeError: module 'stranger' has no attribute 'Lever'"),
        ("stranger:Level", "def", "SyntaxError: "),
        ("stranger:Level", "raise SystemExit(1)", "SystemExit: 1"),
    ],
    ids=["no such module", "no such class", "no Python", "an exit"],
)
def test_what_cannot_be_loaded_is_refused_with_whose_it_is_and_what_to_do(
    offering: Path, value: str, code: str, why: str
) -> None:
    offer(offering, "stranger", "level", value, code)
    with pytest.raises(Misconfigured) as refused:
        plug_in("mizzle.codecs", PlugIn(name="level"))
    said = str(refused.value)
    assert said.startswith(f"plug-in 'level' (entry point '{value}' in mizzle.codecs, of the package stranger)")
    assert why in said
    assert said.endswith("; mend or update stranger, or name another plug-in in the plan")


def test_a_field_of_a_type_that_no_plan_can_give_is_refused(offering: Path) -> None:
    code = LEVEL.replace("height: int = 3", "height: complex = 3j")
    offer(offering, "stranger", "level", "stranger:Level", code)
    with pytest.raises(Misconfigured, match="plug-in 'level' does not take these fields"):
        plug_in("mizzle.codecs", PlugIn(name="level", fields={"height": 5}))


def test_a_file_of_ours_that_holds_no_plug_in_is_none() -> None:
    with pytest.raises(Misconfigured, match=r"no plug-in '__init__' in mizzle/codecs/"):
        plug_in("mizzle.codecs", PlugIn(name="__init__"))
