"""A device's folder: one device at a time, and a key that nobody else reads."""

from pathlib import Path

import pytest

from mizzle.device.home import KEY, claimed, signing_key
from mizzle.errors import Misconfigured


def test_a_home_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    with claimed(tmp_path / "deep" / "home") as home:
        assert home.stat().st_mode & 0o777 == 0o700


def test_a_key_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    with claimed(tmp_path) as home:
        made = signing_key(home)
        assert signing_key(home) == made
        assert ((home / KEY).stat().st_mode & 0o777, (home / KEY).read_bytes()) == (0o600, made.seed)


def test_what_a_crash_left_of_a_new_key_is_not_taken_for_one(tmp_path: Path) -> None:
    (tmp_path / "key.new").write_bytes(b"half")
    with claimed(tmp_path) as home:
        assert len(signing_key(home).seed) == 32


def test_two_devices_cannot_run_in_one_home(tmp_path: Path) -> None:
    with claimed(tmp_path), pytest.raises(Misconfigured, match="another device runs in"), claimed(tmp_path):
        pytest.fail("claimed twice")
    with claimed(tmp_path):
        pass


def test_a_key_that_others_may_read_is_refused_with_the_cure(tmp_path: Path) -> None:
    with claimed(tmp_path) as home:
        signing_key(home)
        (home / KEY).chmod(0o640)
        with pytest.raises(Misconfigured, match="chmod 600"):
            signing_key(home)


def test_a_key_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    with claimed(tmp_path) as home:
        signing_key(home)
        (home / KEY).write_bytes(b"short")
        with pytest.raises(Misconfigured, match="32 bytes"):
            signing_key(home)


def test_a_home_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Misconfigured, match="MIZZLE_HOME"), claimed(tmp_path / "file" / "home"):
        pytest.fail("claimed a home inside a file")
