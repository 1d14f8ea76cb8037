"""The yardstick is the one that was given, and it is run as the pipeline is."""

import hashlib
import shutil
from pathlib import Path

import pytest

from bench import yardstick
from bench.load import Load
from bench.yardstick import Bare, measure
from services.local import broker
from tests.servers import missing

GIVEN = "6cdc5a9a80e62961b9ee1dc31299ca0b4b68f74d845f7621936177f1fddfa1c1"


def test_the_yardstick_is_not_changed() -> None:
    program = Path(yardstick.__file__).with_name("bare.py")
    assert hashlib.sha256(program.read_bytes()).hexdigest() == GIVEN


def test_the_yardstick_measures_as_many_updates_of_the_same_size() -> None:
    if "mosquitto" not in broker.brokers():
        missing("mosquitto")
    if shutil.which("redis-server") is None:
        missing("redis-server")
    bare = measure(Load(elements=640, bits=4, updates=16, window=8), "no")
    assert bare.bare_updates_per_s > 0
    assert bare.bare_cpu_ms_per_update >= 0


LOAD = Load(elements=640, bits=4, updates=16, window=8)


def program(folder: Path, *lines: str) -> Path:
    """A program in place of the yardstick, which counts its runs in the file `runs`."""
    file = folder / "bare.py"
    counting = (
        "import json, subprocess, sys, time",
        "from pathlib import Path",
        "runs = Path(__file__).with_name('runs')",
        "run = len(runs.read_text()) + 1 if runs.exists() else 1",
        "runs.write_text('x' * run)",
        "ran = {'bare_updates_per_s': 100.0 * run, 'bare_cpu_ms_per_update': run / 10}",
    )
    file.write_text("\n".join([*counting, *lines]))
    return file


def test_the_mean_of_three_runs_is_taken(tmp_path: Path) -> None:
    found = measure(LOAD, "no", program(tmp_path, "print(json.dumps(ran))"))
    assert found == Bare(bare_updates_per_s=200.0, bare_cpu_ms_per_update=0.2)


def test_a_run_that_hangs_is_made_again_and_what_it_had_started_is_gone(tmp_path: Path) -> None:
    """Its two ports may be the same one, and then it waits for a Redis that could not start."""
    hangs = (
        "if run == 1:",
        "    child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])",
        "    Path(__file__).with_name('child').write_text(str(child.pid))",
        "    time.sleep(600)",
        "print(json.dumps(ran))",
    )
    found = measure(LOAD, "no", program(tmp_path, *hangs), most_s=3.0)
    assert found == Bare(bare_updates_per_s=300.0, bare_cpu_ms_per_update=0.3)
    stat = Path(f"/proc/{(tmp_path / 'child').read_text()}/stat")
    assert not stat.exists() or " Z " in stat.read_text()


def test_what_the_yardstick_complains_of_is_told(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="ended with 1: none of mosquitto found"):
        measure(LOAD, "no", program(tmp_path, "sys.exit('none of mosquitto found')"))
