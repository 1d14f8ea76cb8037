import ast
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mizzle.device.train import Device
from mizzle.errors import Misconfigured
from mizzle.failpoints import COUNTS, EFFECTS, POINTS, VARIABLE, Charge, failpoint, parse
from tests.sources import Source, calls

TREE = Path(__file__).parents[2]
THRICE = """
import sys
from mizzle import failpoints
failpoints.arm()
for time in (1, 2, 3):
    with failpoints.failpoint("xadd"):
        print("done", time, flush=True)
print("end", flush=True)
"""
AT_ONCE = """
import sys, threading
from mizzle import failpoints
failpoints.arm()
sys.setswitchinterval(1e-6)
def turn():
    while True:
        with failpoints.failpoint("xadd"):
            pass
for _ in range(4):
    threading.Thread(target=turn).start()
"""
FAILING = """
from contextlib import suppress
from mizzle import failpoints
failpoints.arm()
with suppress(ValueError), failpoints.failpoint("xadd"):
    raise ValueError
"""


def test_every_effect_stands_in_the_code_and_what_stands_there_is_an_effect() -> None:
    paths = [path for folder in ("mizzle", "services") for path in (TREE / folder).rglob("*.py")]
    named = [name for path in paths for name in effects_in(Source(str(path), path.read_text(encoding="utf-8")))]
    assert set(named) == set(EFFECTS)


def test_a_place_whose_effect_is_no_plain_word_is_noticed() -> None:
    stray = Source("x.py", "from mizzle.failpoints import failpoint\nwith failpoint(f'{a}'): pass")
    with pytest.raises(AssertionError):
        list(effects_in(stray))


def test_every_effect_has_a_point_before_and_one_after() -> None:
    assert {point.rpartition(".")[0] for point in POINTS} == set(EFFECTS)
    assert len(POINTS) == 2 * len(EFFECTS)


def test_a_process_dies_where_it_is_told_to_and_nowhere_else(tmp_path: Path) -> None:
    run = ran(THRICE, f"{tmp_path}/counts", "xadd.after=kill9@2")
    assert (run.returncode, run.stdout) == (-signal.SIGKILL, "done 1\ndone 2\n")
    assert counted(tmp_path) == [
        "xadd.before 1 count",
        "xadd.after 1 count",
        "xadd.before 2 count",
        "xadd.after 2 kill9",
    ]


def test_a_process_dies_before_the_effect(tmp_path: Path) -> None:
    run = ran(THRICE, f"{tmp_path}/counts", "xadd.before=kill9")
    assert (run.returncode, run.stdout, counted(tmp_path)) == (-signal.SIGKILL, "", ["xadd.before 1 kill9"])


def test_a_process_that_stops_goes_on_where_it_stood(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", THRICE], cwd=TREE, env=told(f"{tmp_path}/counts", "xadd.after=stop@3"), stdout=-1
    ) as process:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        assert counted(tmp_path)[-1] == "xadd.after 3 stop"
        process.send_signal(signal.SIGCONT)
        said, _ = process.communicate(timeout=30)
    assert (process.returncode, said.splitlines()[-1]) == (0, b"end")


def test_of_several_threads_every_time_is_counted_before_one_dies(tmp_path: Path) -> None:
    """Devices of one process live in threads: what the second one reached stood nowhere when the third had died."""
    run = ran(AT_ONCE, f"{tmp_path}/counts", "xadd.before=kill9@2000")
    assert run.returncode == -signal.SIGKILL
    times = [int(line.split()[1]) for line in counted(tmp_path) if line.startswith("xadd.before")]
    assert times == list(range(1, 2001))


def test_a_point_that_only_counts_lets_everything_go_on(tmp_path: Path) -> None:
    run = ran(THRICE, f"{tmp_path}/counts", "xadd.after=count@2")
    assert (run.returncode, run.stdout.splitlines()[-1]) == (0, "end")
    assert len(counted(tmp_path)) == 6


def test_an_effect_that_raises_is_not_after_it(tmp_path: Path) -> None:
    assert ran(FAILING, f"{tmp_path}/counts").returncode == 0
    assert counted(tmp_path) == ["xadd.before 1 count"]


def test_points_that_are_unset_are_one_and_the_same_nothing() -> None:
    assert failpoint("xadd") is failpoint("receipt")


def test_several_points_are_set_at_once() -> None:
    asked = "xadd.after=kill9@3; step.before = stop,receipt.before=count;"
    expected = (Charge("xadd.after", "kill9", 3), Charge("step.before", "stop"), Charge("receipt.before", "count"))
    assert parse(asked) == expected


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ("xad.after=kill9", "names the point 'xad.after', which is not there; the nearest is 'xadd.after'"),
        ("xadd=kill9", "the nearest is 'xadd."),
        ("xadd.after=kill", "names the action 'kill', which is not there; the nearest is 'kill9'"),
        ("xadd.after", "is POINT=ACTION@TIMES, such as xadd.after=kill9@3; got 'xadd.after'"),
        ("xadd.after=kill9@0", "got 'xadd.after=kill9@0'"),
    ],
)
def test_what_is_no_point_is_refused_and_the_nearest_is_named(asked: str, text: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        parse(asked)
    assert text in str(refused.value)


def test_a_service_with_an_unknown_point_does_not_start(tmp_path: Path) -> None:
    settings = {
        "MIZZLE_FEDERATION": "x",
        "MIZZLE_LEDGER": f"sqlite:///{tmp_path}/none.db",
        "MIZZLE_KEYS": str(tmp_path),
        "MIZZLE_PAYLOADS": str(tmp_path),
        "REDIS_URL": "redis://127.0.0.1:1/0",
    }
    run = subprocess.run(
        [sys.executable, "-m", "services.releaser"],
        cwd=TREE,
        env={**os.environ, **settings, VARIABLE: "stepp.before=kill9"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 3
    assert "the nearest is 'step.before'" in run.stderr


def test_a_device_with_an_unknown_point_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "outbox-writ.after=kill9")
    device = Device("mqtt://127.0.0.1:1", tmp_path)
    device.train(lambda _: {})
    with pytest.raises(Misconfigured, match=r"the nearest is 'outbox-write\.after'"):
        device.run()


def test_a_file_that_cannot_be_counted_into_is_refused(tmp_path: Path) -> None:
    run = ran(THRICE, f"{tmp_path}/none/counts")
    assert run.returncode == 1
    assert "MIZZLE_FAILPOINT_COUNTS is a file to count in" in run.stderr


def effects_in(source: Source) -> Iterator[str]:
    """The effects that a file names; each is a plain word."""
    for use, arguments in calls(source):
        if use.name == "mizzle.failpoints.failpoint":
            (effect,) = arguments
            assert isinstance(effect, ast.Constant), source.place(use.line, "an effect is named by a plain word")
            yield str(effect.value)


def told(counts: str, points: str = "") -> dict[str, str]:
    return {**os.environ, VARIABLE: points, COUNTS: counts}


def ran(program: str, counts: str, points: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=TREE,
        env=told(counts, points),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def counted(folder: Path) -> list[str]:
    return (folder / "counts").read_text().splitlines()
