"""What a run's raw counts mean for each update, and whether the run is to be believed; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from bench.run import Ran
    from bench.yardstick import Bare

MOST_RATIO: Final = 2.0
"""The goal: the server's processor time for an update is at most so many times that of the yardstick."""

MOST_GROWTH: Final = 1.04
"""Two peaks are the same if one is at most so many times the other: runs of one load differ by 3 % by chance.

At a million parameters it is what thirteen payloads of 4 bits take, so whoever keeps updates is noticed.
"""


def figures(ran: Ran, bare: Bare) -> dict[str, Any]:
    """The figures of a run beside those of the yardstick, as they are written to a JSON file."""
    load = ran.load
    cpu_ms = {name: 1000 * seconds / load.updates for name, seconds in ran.cpu_s.items()}
    server = sum(cpu_ms.values())
    noise = ran.noise_ms / load.window
    return {
        "elements": load.elements,
        "bits": load.bits,
        "updates": load.updates,
        "window": load.window,
        "windows": load.windows,
        "updates_per_s": round(load.updates / ran.seconds, 1),
        "server_cpu_ms_per_update": round(server, 4),
        "bare_updates_per_s": bare.bare_updates_per_s,
        "bare_cpu_ms_per_update": bare.bare_cpu_ms_per_update,
        "ratio": round(server / bare.bare_cpu_ms_per_update, 3),
        "bytes_per_update": round(ran.bytes_up / load.updates, 1),
        "cpu_ms_per_update": {name: round(spent, 4) for name, spent in cpu_ms.items()},
        "noise_ms_per_window": round(ran.noise_ms, 1),
        "noise_ms_per_update": round(noise, 4),
        "noise_share_of_server_cpu": round(noise / server, 3),
        "peak_mb": {name: round(peak, 1) for name, peak in ran.peak_mb.items()},
        "counted": ran.counted,
        "receipts_delivered": ran.receipts,
        "payload_store": ran.payload_store,
        "fsync_p50_ms": round(ran.machine.fsync_p50_ms, 3),
        "load_average": round(ran.machine.load_average, 2),
        "idle_share": round(ran.machine.idle_share, 3),
    }


def memory(few: Ran, many: Ran) -> dict[str, Any]:
    """The aggregator's peak memory in two runs that differ in their number of updates, and whether it is the same."""
    least, most = sorted(ran.peak_mb["aggregator"] for ran in (few, many))
    return {
        "elements": many.load.elements,
        "updates": [few.load.updates, many.load.updates],
        "window": [few.load.window, many.load.window],
        "counted": [few.counted, many.counted],
        "receipts_delivered": [few.receipts, many.receipts],
        "aggregator_peak_mb": [round(few.peak_mb["aggregator"], 1), round(many.peak_mb["aggregator"], 1)],
        "ratio": round(most / least, 4),
        "equal": most <= MOST_GROWTH * least,
        "updates_per_s": [round(ran.load.updates / ran.seconds, 1) for ran in (few, many)],
        "peak_mb": {name: round(peak, 1) for name, peak in many.peak_mb.items()},
    }


def missing(ran: Ran) -> str | None:
    """Why the run has failed: what it counted, what it answered and what was sent are not the same."""
    if ran.counted == ran.receipts == ran.load.updates:
        return None
    return f"{ran.load.updates} updates were sent, {ran.counted} were counted and {ran.receipts} receipts delivered"


def too_dear(found: dict[str, Any], most_ratio: float | None) -> str | None:
    """Why these figures have failed: the server's processor time is more than `most_ratio` times the yardstick's."""
    if most_ratio is None or found["ratio"] <= most_ratio:
        return None
    cost = f"an update costs the server {found['ratio']} times what it costs the yardstick"
    return f"{cost}, wanted at most {most_ratio}: see in cpu_ms_per_update which process has grown"
