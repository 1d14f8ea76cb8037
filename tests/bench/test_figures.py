"""What is made of a run's counts, and which runs are not believed."""

from dataclasses import replace

import pytest

from bench.figures import figures, memory, missing, too_dear
from bench.load import Load
from bench.machine import Machine
from bench.run import Ran
from bench.yardstick import Bare

RAN = Ran(
    load=Load(elements=1000, bits=4, updates=200, window=100),
    seconds=0.5,
    cpu_s={"broker": 0.05, "aggregator": 0.15},
    peak_mb={"broker": 5.0, "aggregator": 100.0},
    noise_ms=4.0,
    bytes_up=160_000,
    counted=200,
    receipts=200,
    payload_store="memory",
    machine=Machine(fsync_p50_ms=0.1234, load_average=1.5, idle_share=0.25),
)
BARE = Bare(bare_updates_per_s=1000.0, bare_cpu_ms_per_update=0.4)


def test_a_runs_figures_are_those_of_an_update_beside_the_yardsticks() -> None:
    assert figures(RAN, BARE) == {
        "elements": 1000,
        "bits": 4,
        "updates": 200,
        "window": 100,
        "windows": 2,
        "updates_per_s": 400.0,
        "server_cpu_ms_per_update": 1.0,
        "bare_updates_per_s": 1000.0,
        "bare_cpu_ms_per_update": 0.4,
        "ratio": 2.5,
        "bytes_per_update": 800.0,
        "cpu_ms_per_update": {"broker": 0.25, "aggregator": 0.75},
        "noise_ms_per_window": 4.0,
        "noise_ms_per_update": 0.04,
        "noise_share_of_server_cpu": 0.04,
        "peak_mb": {"broker": 5.0, "aggregator": 100.0},
        "counted": 200,
        "receipts_delivered": 200,
        "payload_store": "memory",
        "fsync_p50_ms": 0.123,
        "load_average": 1.5,
        "idle_share": 0.25,
    }


def test_a_run_is_believed_if_every_update_was_counted_and_answered() -> None:
    assert missing(RAN) is None


@pytest.mark.parametrize(("counted", "receipts"), [(199, 200), (200, 199), (199, 199), (201, 201)])
def test_a_run_in_which_an_update_is_missing_or_one_too_many_is_not_believed(counted: int, receipts: int) -> None:
    why = missing(replace(RAN, counted=counted, receipts=receipts))
    assert why == f"200 updates were sent, {counted} were counted and {receipts} receipts delivered"


@pytest.mark.parametrize("most_ratio", [None, 2.5, 3.0])
def test_what_costs_no_more_than_is_allowed_is_not_too_dear(most_ratio: float | None) -> None:
    assert too_dear(figures(RAN, BARE), most_ratio) is None


def test_what_costs_more_than_is_allowed_says_what_it_costs() -> None:
    why = "an update costs the server 2.5 times what it costs the yardstick, wanted at most 2.4"
    assert too_dear(figures(RAN, BARE), 2.4) == f"{why}: see in cpu_ms_per_update which process has grown"


@pytest.mark.parametrize(("peak", "ratio"), [(100.0, 1.0), (104.0, 1.04), (96.2, 1.0395)])
def test_two_peaks_within_4_per_cent_of_each_other_are_the_same(peak: float, ratio: float) -> None:
    found = memory(RAN, replace(RAN, peak_mb={"aggregator": peak}))
    assert (found["aggregator_peak_mb"], found["ratio"], found["equal"]) == ([100.0, peak], ratio, True)


@pytest.mark.parametrize("peak", [104.1, 96.1])
def test_two_peaks_that_are_further_apart_are_not_the_same(peak: float) -> None:
    assert not memory(RAN, replace(RAN, peak_mb={"aggregator": peak}))["equal"]
