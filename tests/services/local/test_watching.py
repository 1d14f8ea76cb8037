"""A federation that is watched while it works: a small one, with a hostile device, a stranger and a stopped service."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mizzle import topics
from mizzle.device.doctor import examine
from mizzle.device.home import signing_key
from mizzle.device.task import Task
from mizzle.device.train import Device
from mizzle.device.training import encoded
from mizzle.findings import reach
from mizzle.grid import Vector
from mizzle.manifest import authentic
from mizzle.messages import Invitation
from mizzle.plan import Plan
from mizzle.topics import Up
from mizzle.transport.clock import now
from services.ledger.ledger import Ledger
from services.local.federation import SERVICES, Federation, running
from services.local.fleet import times_minus
from services.local.janitor import workplace
from services.local.waiting import LOOPBACK, free_port
from services.pipeline import hop
from services.runtime.metrics import CATALOGUE
from tests.commands import is_command
from tests.lives import CHECKOUT
from tests.mqtt import Peer
from tests.servers import missing
from tests.services.plans import MODEL, plan

pytestmark = pytest.mark.xdist_group("watching")

PUMPS = ("pump-1", "pump-2", "pump-3")
HOSTILE = "pump-3"
WINDOWS = 2
DOC = CHECKOUT / "docs" / "watching.md"

Page = dict[tuple[str, tuple[tuple[str, str], ...]], float]
"""Every sample of a page, by its name and its labels in order."""


@dataclass
class Watched:
    """What was seen: the pages before anything, while the aggregator was stopped, and when all was over."""

    federation: Federation
    ports: dict[str, str]
    working: dict[str, Page] = field(default_factory=dict)
    stopped: Page = field(default_factory=dict)
    over: dict[str, Page] = field(default_factory=dict)
    diagnosis: tuple[int, list[dict[str, Any]]] = (0, [])

    def page(self, service: str) -> Page:
        with urllib.request.urlopen(f"http://{self.ports[service]}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def wait_for(self, claim: Callable[[Page], bool], service: str = "privacy_accountant") -> Page:
        """The first page of the service of which the claim is true."""
        until = time.monotonic() + 40
        while not claim(page := self.page(service)):
            assert time.monotonic() < until, page
            time.sleep(0.1)
        return page


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    ports = {service: f"{LOOPBACK}:{free_port()}" for service in SERVICES}
    with ExitStack() as after:
        monkeypatch = after.enter_context(pytest.MonkeyPatch.context())
        monkeypatch.setenv("MIZZLE_LOG_LEVEL", "DEBUG")
        folder = after.enter_context(workplace())
        wanted = plan(windows=WINDOWS, noise=1.0)
        federation = after.enter_context(running(folder, wanted, MODEL, keep_payloads=True, metrics=ports))
        if federation.broker.kind != "mosquitto":
            missing("mosquitto")
        seen = Watched(federation, ports)
        for service in SERVICES:
            wait_for_a_page(seen, service)
        watch(seen, after)
        yield seen


def watch(seen: Watched, after: ExitStack) -> None:
    """Let the story happen: the aggregator is stopped before the first update comes, and goes on when it was seen."""
    aggregator = seen.federation.processes["aggregator"]
    seen.wait_for(lambda page: value(page, "mizzle_peer_pulse_age_seconds", service="aggregator") is not None)
    aggregator.kill(signal.SIGSTOP)
    start_tap(seen.federation)
    after.enter_context(alive(seen.federation, PUMPS))
    with Peer(seen.federation.broker.port, "ghost") as ghost:
        ghost.publish(topics.up("pumps", "ghost", Up.PRESENCE), b"boo")
    seen.stopped = seen.wait_for(
        lambda page: (
            lag_of(page, "aggregator") > len(PUMPS)
            and pulse_of(page) > 5
            and value(page, "mizzle_updates", outcome="open") == len(PUMPS) - 1
        )
    )
    seen.working = {service: seen.page(service) for service in SERVICES if service != "aggregator"}
    seen.diagnosis = doctor(seen.federation)
    aggregator.kill(signal.SIGCONT)
    seen.wait_for(lambda page: value(page, "mizzle_windows", state="released") == WINDOWS)
    seen.wait_for(lambda page: value(page, "mizzle_updates", outcome="open") == 0)
    seen.over = {service: seen.page(service) for service in SERVICES}


@contextlib.contextmanager
def alive(federation: Federation, names: Iterable[str]) -> Iterator[None]:
    """Devices that take part, until the context is left."""
    devices = [pump(federation, name) for name in names]
    threads = [threading.Thread(target=device.run) for device in devices]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for device in devices:
            device.stop()
        for thread in threads:
            thread.join(10)


def pump(federation: Federation, name: str) -> Device:
    """A device; the hostile one sends its first update times −20."""
    device = Device(federation.broker_url, federation.homes / name, token=federation.founded.token(name))

    @device.train
    def train(task: Task) -> object:
        return {"w": task.weights["w"] + 0.25}

    def encode(change: Vector, works_by: Plan, invitation: Invitation) -> bytes:
        payload = encoded(change, works_by, invitation)
        return times_minus(20, payload) if (name, invitation.window) == (HOSTILE, 1) else payload

    device.encode = encode
    return device


def start_tap(federation: Federation) -> None:
    """Listen to all that devices say, as the gateway may, and to all that is said to everybody."""
    key = federation.founded.public_keys["release"].hex()
    words = ("tap", "pumps", "--broker", federation.broker_url, "--as", "gateway", "--key", key, "--json")
    child = federation.processes.start("tap", [sys.executable, "-m", "mizzle.cli", *words])
    until = time.monotonic() + 20
    while "listening to pumps" not in child.log.read_text(encoding="utf-8"):
        assert time.monotonic() < until, child.last_words
        time.sleep(0.05)


def doctor(federation: Federation, **more: str) -> tuple[int, list[dict[str, Any]]]:
    """What the services' doctor says, in the environment of the accountant with some of it changed."""
    lines = (
        Path(f"/proc/{federation.processes['privacy_accountant'].pid}/environ").read_text(encoding="utf-8").split("\0")
    )
    environ = dict(line.split("=", 1) for line in lines if "=" in line)
    return told([sys.executable, "-m", "services.doctor", "--json"], {**environ, **more})


def device_doctor(home: Path, broker: str) -> tuple[int, list[dict[str, Any]]]:
    """What a device's doctor says."""
    words = ("doctor", "--json", "--home", str(home), "--broker", broker)
    return told([sys.executable, "-m", "mizzle.cli", *words], dict(os.environ))


def told(argv: list[str], environ: dict[str, str]) -> tuple[int, list[dict[str, Any]]]:
    run = subprocess.run(argv, env=environ, cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode in (0, 10), run.stderr
    findings = [json.loads(line) for line in run.stdout.splitlines()]
    assert [finding for finding in findings if not finding["well"] and not is_command(finding["next"])] == []
    return run.returncode, findings


def wrong(findings: list[dict[str, Any]]) -> dict[str, str]:
    """The next command of each finding that is not well."""
    return {finding["subject"]: finding["next"] for finding in findings if not finding["well"]}


def wait_for_a_page(seen: Watched, service: str) -> None:
    until = time.monotonic() + 40
    while True:
        try:
            seen.page(service)
        except urllib.error.URLError:
            child = seen.federation.processes[service]
            assert child.returncode is None, child.last_words
            assert time.monotonic() < until, child.last_words
            time.sleep(0.05)
        else:
            return


def value(page: Page, name: str, **labels: str) -> float | None:
    return page.get((name, tuple(sorted(labels.items()))))


def lag_of(page: Page, service: str, stream: str = "charged") -> float:
    return value(page, "mizzle_peer_lag_entries", service=service, stream=stream) or 0.0


def pulse_of(page: Page, service: str = "aggregator") -> float:
    return value(page, "mizzle_peer_pulse_age_seconds", service=service) or 0.0


def test_a_stopped_service_is_seen_from_outside(watched: Watched) -> None:
    """It cannot answer itself: its pulse grows old, and what it has not read grows, while the others are well."""
    assert lag_of(watched.stopped, "aggregator") > len(PUMPS)
    others = [service for service in SERVICES if service != "aggregator"]
    assert all(pulse_of(watched.stopped, service) < 2 < pulse_of(watched.stopped) for service in others)
    assert {
        service for service in others for stream in hop(service).reads if lag_of(watched.stopped, service, stream)
    } == set()


def test_a_doctor_names_the_stopped_service_and_what_to_do(watched: Watched) -> None:
    code, findings = watched.diagnosis
    assert (code, wrong(findings)) == (10, {"aggregator": "python -m services.aggregator"})
    (aggregator,) = [finding["what"] for finding in findings if finding["subject"] == "aggregator"]
    assert "last turned" in aggregator
    assert "on charged" in aggregator


def test_a_doctor_finds_a_federation_well_that_is(watched: Watched) -> None:
    code, findings = doctor(watched.federation)
    assert (code, wrong(findings)) == (0, {})
    looked_at = {finding["subject"] for finding in findings}
    assert looked_at >= {"ledger", "accounts", "receipt key", "release key", "payloads", "redis", "gateway", "letters"}


def test_a_doctor_says_which_store_or_key_is_wrong(watched: Watched, tmp_path: Path) -> None:
    federation = watched.federation
    assert wrong(doctor(federation, MIZZLE_LEDGER=f"sqlite:///{tmp_path}/none.db")[1]) == {
        "ledger": "python -m services.ledger create --plan plan.toml"
    }
    nowhere = f"redis://{LOOPBACK}:{free_port()}/0"
    assert wrong(doctor(federation, REDIS_URL=nowhere)[1]) == {"redis": 'redis-cli -u "$REDIS_URL" ping'}
    mine = shutil.copytree(federation.folder / "keys", tmp_path / "keys")
    (mine / "release.key").chmod(0o644)
    (mine / "receipt.key").write_text("00" * 32)
    assert wrong(doctor(federation, MIZZLE_KEYS=str(mine))[1]) == {
        "receipt key": f"cp -p COPY/receipt.key {mine}/receipt.key",
        "release key": f"chmod 600 {mine}/release.key",
    }


def test_a_device_that_takes_part_is_well(watched: Watched) -> None:
    code, findings = device_doctor(watched.federation.homes / "pump-1", watched.federation.broker_url)
    assert (code, wrong(findings)) == (0, {})
    subjects = [finding["subject"] for finding in findings]
    assert subjects == ["home", "key", "outbox", "identity", "broker", "acl", "gateway", "clock"]


def test_a_device_that_is_not_well_is_told_what_to_do(watched: Watched, tmp_path: Path) -> None:
    broker, nowhere = watched.federation.broker_url, f"mqtt://{LOOPBACK}:{free_port()}"
    home = shutil.copytree(watched.federation.homes / "pump-1", tmp_path / "pump-1")
    enrol = "mizzle device enrol TOKEN --broker"
    code, findings = device_doctor(home, nowhere)
    assert (code, wrong(findings)) == (10, {"broker": reach(LOOPBACK, int(nowhere.rpartition(":")[2]))})
    (home / "key").chmod(0o644)
    assert wrong(device_doctor(home, broker)[1]) == {"key": f"chmod 600 {home}/key"}
    (home / "key").write_bytes(bytes(32))
    (home / "key").chmod(0o600)
    assert wrong(device_doctor(home, broker)[1])["identity"] == f"{enrol} {broker} --home {home}-new"
    assert wrong(device_doctor(tmp_path / "none", broker)[1]) == {"home": f"{enrol} {broker} --home {tmp_path}/none"}
    (tmp_path / "bare").mkdir(mode=0o700)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(tmp_path)
        signing_key(tmp_path / "bare")
    assert wrong(device_doctor(tmp_path / "bare", broker)[1]) == {"outbox": f"{enrol} {broker} --home {tmp_path}/bare"}


def test_a_clock_that_is_a_day_off_is_found(watched: Watched) -> None:
    home, broker = watched.federation.homes / "pump-1", watched.federation.broker_url
    found = list(examine(home, broker, lambda: now() + 24 * 3_600_000))
    (clock,) = [finding for finding in found if not finding.is_well]
    assert (clock.subject, clock.next) == ("clock", "sudo timedatectl set-ntp true")
    assert "1.0 days ahead of" in clock.what


def test_the_tap_shows_each_update_and_release_and_no_contents(watched: Watched) -> None:
    text = watched.federation.processes["tap"].log.read_bytes()
    seen = [json.loads(line) for line in text.splitlines() if line.startswith(b"{")]
    updates = {(one["sender"], one["window"]) for one in seen if one["kind"] == "update"}
    assert updates >= {(name, window) for name in PUMPS for window in range(1, WINDOWS + 1)}
    releases = [(one["genuine"], one["more"]["version"]) for one in seen if one["kind"] == "release"]
    assert releases[-1] == (True, WINDOWS)
    assert {one["fault"] for one in seen if one["sender"] == "ghost"} == {
        "an envelope is at least 100 bytes long, got 3"
    }
    for payload in (path.read_bytes() for path in (watched.federation.payloads / "kept").iterdir()):
        assert payload[:12] not in text
        assert payload[:12].hex().encode() not in text
        assert b64encode(payload[:12]) not in text


def test_once_it_goes_on_nobody_is_behind(watched: Watched) -> None:
    page = watched.wait_for(lambda page: lag_of(page, "aggregator") == 0 and pulse_of(page) < 2)
    assert value(page, "mizzle_dead_letters_kept") == 0


def test_while_a_window_is_open_every_update_is_accounted_for_too(watched: Watched) -> None:
    page = watched.working["privacy_accountant"]
    assert value(page, "mizzle_conservation_difference") == 0
    assert [value(page, "mizzle_updates", outcome=outcome) for outcome in ("open", "refused", "counted")] == [2, 1, 0]
    assert (value(page, "mizzle_windows", state="open"), value(page, "mizzle_release_version")) == (1, 0)
    assert 0 < (value(page, "mizzle_epsilon_spent", federation="pumps") or 0) < 1e6  # what is reserved counts already
    assert all((value(page, "mizzle_loop_age_seconds") or 0) < 2 for page in watched.working.values())


def test_every_update_is_accounted_for(watched: Watched) -> None:
    page = watched.over["privacy_accountant"]
    assert value(page, "mizzle_conservation_difference") == 0
    outcomes = {outcome: value(page, "mizzle_updates", outcome=outcome) for outcome in ("counted", "refused", "open")}
    assert outcomes == {"counted": WINDOWS * len(PUMPS) - 1, "refused": 1, "open": 0}
    assert value(page, "mizzle_deliveries_total", kind="first") == WINDOWS * len(PUMPS)
    assert (value(page, "mizzle_window_number"), value(page, "mizzle_release_version")) == (WINDOWS, WINDOWS)


def test_a_hostile_update_and_a_stranger_are_counted_by_reason(watched: Watched) -> None:
    ledger, gateway = watched.over["privacy_accountant"], watched.over["gateway"]
    refused = {
        dict(labels)["reason"]: count for (name, labels), count in ledger.items() if name == "mizzle_refused_updates"
    }
    assert {reason for reason, count in refused.items() if count} == {"norm"}
    assert refused["norm"] == 1
    assert value(gateway, "mizzle_unauthenticated_total", reason="unknown") == 1
    assert value(ledger, "mizzle_deliveries_total", kind="unauthenticated") == 1


def test_the_epsilon_shown_is_the_manifests(watched: Watched) -> None:
    founded, page = watched.federation.founded, watched.over["privacy_accountant"]
    (release,) = Ledger.open(f"sqlite:///{watched.federation.ledger_file}", "pumps").releases(1)
    said = authentic(release.manifest, [founded.public_keys["release"]], "pumps").privacy.epsilon
    assert said
    assert value(page, "mizzle_epsilon_spent", federation="pumps") == pytest.approx(said, rel=1e-12)
    assert value(page, "mizzle_epsilon_budget", federation="pumps") == 1e6


def test_each_loop_counts_what_it_has_taken_and_says_that_it_turns(watched: Watched) -> None:
    taken = {
        (service, stream): value(watched.over[service], "mizzle_entries_total", stream=stream) or 0
        for service in SERVICES
        for stream in hop(service).reads
    }
    ledger = watched.over["privacy_accountant"]
    deliveries = [value(ledger, "mizzle_deliveries_total", kind=kind) or 0 for kind in ("first", "duplicate")]
    assert taken["anomaly_detector", "received"] == taken["privacy_accountant", "judged"] == sum(deliveries)
    assert min(taken.values()) >= 1
    assert all((value(page, "mizzle_loop_age_seconds") or 0) < 2 for page in watched.over.values())
    assert value(watched.over["gateway"], "mizzle_broker_heard") == 1


def test_what_is_shown_is_what_the_catalogue_and_the_page_list(watched: Watched) -> None:
    """The list is closed: a new figure needs its row, and its row the reason why everybody may see it."""
    shown = {(name, tuple(key for key, _ in labels)) for page in watched.over.values() for name, labels in page}
    assert shown == {(figure.name, figure.labels) for figure in CATALOGUE.values()} == set(documented())


def documented() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Name and labels of each row of the table in the page, each with a reason."""
    for line in DOC.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `mizzle_") and len(cells) == 4:
            name, labels, means, why = cells
            assert means
            assert why
            yield name.strip("`"), tuple(label.strip("` ") for label in labels.split(",") if label.strip("` "))


def test_labels_have_few_values_and_none_of_them_is_a_device(watched: Watched) -> None:
    values = {text for page in watched.over.values() for _, labels in page for _, text in labels}
    assert len(values) < 64
    assert values.isdisjoint({*PUMPS, "ghost"})


def test_every_line_of_a_log_is_an_object_with_its_service_level_and_time(watched: Watched) -> None:
    for service in SERVICES:
        for line in lines_of(watched, service):
            assert {"service", "level", "timestamp", "event"} <= line.keys()
            assert line["service"] == service


def test_an_update_is_followed_through_the_logs_by_its_id(watched: Watched) -> None:
    (refused,) = [line for line in lines_of(watched, "privacy_accountant") if line["event"] == "refused"]
    assert (refused["window"], refused["reason"]) == (1, "norm")
    for service, message in (("gateway", "Received"), ("anomaly_detector", "Verdict"), ("gateway", "Answer")):
        said = [line for line in lines_of(watched, service) if line.get("update") == refused["update"]]
        assert message in {line["message"] for line in said}


def test_a_window_is_followed_through_the_logs_by_its_number(watched: Watched) -> None:
    says = (("selector", "Opening"), ("privacy_accountant", "Window"), ("aggregator", "Aggregate"))
    for service, message in (
        *says,
        ("releaser", "Candidate"),
        ("privacy_accountant", "Closed"),
        ("gateway", "Release"),
    ):
        windows = {line["window"] for line in lines_of(watched, service) if line.get("message") == message}
        assert set(range(1, WINDOWS + 1)) <= windows, (service, message)


def test_no_log_holds_a_payload_or_a_key(watched: Watched) -> None:
    logs = b"".join(path.read_bytes() for path in (watched.federation.folder / "log").glob("*.log")).lower()
    seeds = [path.read_bytes() for path in watched.federation.homes.glob("*/key")]
    seeds += [bytes.fromhex(path.read_text()) for path in (watched.federation.folder / "keys").glob("*.key")]
    payloads = [path.read_bytes() for path in (watched.federation.payloads / "kept").iterdir()]
    assert len(seeds) == len(PUMPS) + 3
    assert len(payloads) >= WINDOWS * len(PUMPS)  # and models and sums, which no log is to hold either
    for secret in (*seeds, *payloads):
        ways = (secret[:12], secret[:12].hex().encode(), repr(secret[:12])[2:-1].encode(), b64encode(secret[:12]))
        assert not any(way.lower() in logs for way in ways)


def lines_of(watched: Watched, service: str) -> list[dict[str, Any]]:
    """The log of a service, line by line."""
    text = watched.federation.processes[service].log.read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_there_is_the_page_of_metrics_and_nothing_else(watched: Watched) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"http://{watched.ports['gateway']}/", timeout=5)
