import os
import subprocess
import sys
from pathlib import Path

from tests.lives import CHECKOUT

# A run on a machine that lacks a server.
SUITE = """
from tests.servers import missing

def test_one(): missing("mosquitto")
def test_two(): missing("mosquitto")
def test_three(): missing("redis-server")
def test_four(): pass
"""


def test_the_end_of_a_run_says_how_many_tests_a_missing_server_cost(tmp_path: Path) -> None:
    code, said = run(tmp_path, require="0")
    assert code == 0
    assert "2 TESTS SKIPPED BECAUSE MOSQUITTO IS MISSING: apt install mosquitto" in said
    assert "1 TEST SKIPPED BECAUSE REDIS-SERVER IS MISSING: apt install redis-server" in said
    assert "1 passed, 3 skipped" in said


def test_it_says_so_too_when_several_workers_ran(tmp_path: Path) -> None:
    code, said = run(tmp_path, "-n2", require="0")
    assert code == 0
    assert "2 TESTS SKIPPED BECAUSE MOSQUITTO IS MISSING" in said


def test_where_servers_are_required_a_missing_one_fails_the_run(tmp_path: Path) -> None:
    code, said = run(tmp_path, require="1")
    assert code == 1
    assert "mosquitto is missing (apt install mosquitto)" in said
    assert "3 failed, 1 passed" in said


def run(folder: Path, *options: str, require: str) -> tuple[int, str]:
    (folder / "test_suite.py").write_text(SUITE)
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.servers", "-p", "no:cacheprovider", *options, str(folder)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), "MIZZLE_REQUIRE_SERVERS": require},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return ended.returncode, ended.stdout
