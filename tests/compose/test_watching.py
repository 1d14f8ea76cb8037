"""What an operator and a device team look with, on the deployment of docker-compose.yml: doctors, tap, figures."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mizzle.device.home import KEY, OUTBOX, PASSWORD
from services.local.waiting import LOOPBACK, free_port
from services.pipeline import FLOW
from tests.commands import is_command
from tests.compose.conftest import FEDERATION, PUMPS, SERVICES, Running
from tests.compose.containers import METRICS, TREE
from tests.compose.test_running import eventually, redis_says

pytestmark = pytest.mark.xdist_group("compose")

Found = dict[str, dict[str, Any]]


def looked(running: Running, **more: str) -> tuple[int, Found]:
    """What `docker compose run --rm operator doctor` finds, by subject."""
    return told(running.project.run("operator", "doctor", "--json", **more))


def mizzle(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """The command of a device team, on a machine of its own."""
    environ = {name: text for name, text in os.environ.items() if not name.startswith("MIZZLE_")}
    argv = [sys.executable, "-m", "mizzle.cli", *words]
    return subprocess.run(
        argv, cwd=TREE, env={**environ, **more}, capture_output=True, text=True, check=False, timeout=60
    )


def told(done: subprocess.CompletedProcess[str]) -> tuple[int, Found]:
    assert done.returncode in (0, 10), done.stderr
    return done.returncode, {found["subject"]: found for found in map(json.loads, done.stdout.splitlines())}


def wrong(found: Found) -> dict[str, str]:
    """The next command of each finding that is not well; on a compose deployment each is for its host."""
    nexts = {subject: one["next"] for subject, one in found.items() if not one["well"]}
    assert all(is_command(command) for command in nexts.values()), nexts
    return nexts


def broker(running: Running) -> str:
    return f"mqtt://{LOOPBACK}:{running.port}"


def home_of(running: Running, place: int = 0) -> Path:
    home = running.devices[place].home
    assert eventually(lambda: all((home / name).exists() for name in (KEY, OUTBOX, PASSWORD)))
    return home


def test_the_operators_doctor_finds_a_deployment_well_that_is(running: Running) -> None:
    code, found = looked(running)
    assert (code, wrong(found)) == (0, {})
    services = [place.service for place in FLOW]
    assert list(found) == ["ledger", "accounts", "keys", "broker", "redis", *services, "letters"]
    assert "throws nothing away" in found["redis"]["what"]
    assert found["broker"]["what"].endswith("takes MQTT 5 from reader")


def test_a_service_that_stands_still_is_named_with_what_starts_it_again(running: Running) -> None:
    with stopped(running, "anomaly-detector"):
        assert eventually(lambda: looked(running)[0] == 10)
        _, found = looked(running)
        assert list(wrong(found)) == ["anomaly_detector"]
        assert found["anomaly_detector"]["next"].startswith("docker compose up -d anomaly-detector && ")
    assert eventually(lambda: looked(running)[0] == 0)


@contextmanager
def stopped(running: Running, name: str) -> Iterator[None]:
    child = running.project.processes[name]
    child.kill(signal.SIGSTOP)
    try:
        yield
    finally:
        child.kill(signal.SIGCONT)


def test_a_broker_or_a_redis_that_is_away_is_named_with_what_starts_it_again(running: Running) -> None:
    _, found = looked(running, MIZZLE_BROKER=f"mqtt://reader@{LOOPBACK}:{free_port()}")
    assert {subject: command.partition(" && ")[0] for subject, command in wrong(found).items()} == {
        "broker": "docker compose up -d broker"
    }
    _, found = looked(running, REDIS_URL=f"redis://doctor@{LOOPBACK}:{free_port()}/0")
    assert {subject: command.partition(" && ")[0] for subject, command in wrong(found).items()} == {
        "redis": "docker compose up -d redis"
    }


def test_a_password_that_is_not_the_one_they_know_is_named(running: Running, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("another")
    setup = "docker compose run --rm setup"
    _, found = looked(running, MIZZLE_BROKER_PASSWORD_FILE=str(tmp_path / "password"))
    assert wrong(found) == {"broker": f"{setup} && docker compose kill -s HUP broker"}
    _, found = looked(running, MIZZLE_REDIS_PASSWORD_FILE=str(tmp_path / "password"))
    assert wrong(found) == {"redis": f"{setup} && docker compose restart redis"}
    _, found = looked(running, MIZZLE_REDIS_PASSWORD_FILE="")
    assert wrong(found) == {"redis": f"{setup} && docker compose restart redis"}


def test_a_ledger_that_is_damaged_gone_or_anothers_is_named(running: Running, tmp_path: Path) -> None:
    (tmp_path / "bad.db").write_text("x\n")
    cases = {
        "docker compose down": {"MIZZLE_LEDGER": f"sqlite:///{tmp_path}/bad.db"},
        "docker compose run --rm setup": {"MIZZLE_LEDGER": f"sqlite:///{tmp_path}/none.db"},
        "grep MIZZLE_ .env": {"MIZZLE_FEDERATION": "tractors"},
    }
    for command, more in cases.items():
        assert wrong(looked(running, **more)[1]) == {"ledger": command}


def test_a_service_refuses_to_sign_with_another_key_than_its_federations(running: Running, tmp_path: Path) -> None:
    """So nobody who may not see the keys need look whether they are right."""
    for place in FLOW:
        if place.signs:
            (tmp_path / f"{place.signs}.key").write_text("07" * 32)
            done = running.project.run(place.service.replace("_", "-"), MIZZLE_KEYS=str(tmp_path))
            assert done.returncode == 3, done.stderr
            assert f"the {place.signs} key in {tmp_path} is not the federation's" in done.stderr


def test_redis_lets_the_doctor_look_and_change_nothing(running: Running) -> None:
    password = (running.project.volume("doctor-secrets") / "redis.password").read_text().strip()

    def says(*command: str) -> str:
        return redis_says(running, *command, user="doctor", password=password)

    assert says("INFO", "server").startswith("# Server")
    assert says("HGET", "mz:x", "at") == ""
    write = "return redis.call('DEL', KEYS[1])"
    denied = (("FLUSHALL",), ("CONFIG", "GET", "*"), ("SHUTDOWN",), ("KEYS", "*"), ("ACL", "LIST"), ("GET", "x"))
    for command in (*denied, ("DEL", "mz:x"), ("XADD", "mz:x", "*", "m", "1"), ("EVAL", write, "1", "mz:x")):
        assert "NOPERM" in says(*command), command
    assert "can't run this command" in says("EVAL_RO", write, "1", "mz:x")


def test_a_devices_doctor_says_the_devices_password(running: Running) -> None:
    home = home_of(running)
    assert eventually(lambda: device_doctor(running, home)[0] == 0)
    code, found = device_doctor(running, home)
    assert (code, wrong(found)) == (0, {})
    assert list(found) == ["home", "key", "outbox", "identity", "broker", "acl", "gateway", "clock"]


def device_doctor(running: Running, home: Path, **more: str) -> tuple[int, Found]:
    return told(mizzle("doctor", "--json", "--broker", broker(running), "--home", str(home), **more))


def test_a_device_with_another_password_is_told_that_it_is_another(running: Running, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("another")
    home = home_of(running)
    _, found = device_doctor(running, home, MIZZLE_BROKER_PASSWORD_FILE=str(tmp_path / "password"))
    enrol = f"mizzle device enrol TOKEN --broker {broker(running)} --home {home}-new"
    assert wrong(found) == {"broker": enrol}
    assert "Not authorized" in found["broker"]["what"]
    assert f"the password in {tmp_path}/password is not the one it knows" in found["broker"]["what"]


def test_the_tap_listens_with_the_password_of_whose_rights_it_takes(running: Running) -> None:
    secret = running.project.volume("gateway-secrets") / "broker.password"
    words = ("tap", "--broker", broker(running), "--count", "1", "--json")
    gateway = mizzle(*words, FEDERATION, "--as", "gateway", MIZZLE_BROKER_PASSWORD_FILE=str(secret))
    device = mizzle(*words, MIZZLE_HOME=str(home_of(running)))
    for done, rights in ((gateway, "gateway"), (device, PUMPS[0])):
        assert (done.returncode, f"with the rights of {rights};" in done.stderr) == (0, True), done.stderr
        assert json.loads(done.stdout)["topic"].startswith(f"mz/1/{FEDERATION}/")
    refused = mizzle(*words, FEDERATION, "--as", "gateway", MIZZLE_HOME=str(home_of(running)))
    assert refused.returncode == 6
    assert "Not authorized" in refused.stderr


def test_each_service_shows_its_figures(running: Running) -> None:
    for name in SERVICES:
        url = f"http://{LOOPBACK}:{running.project.ports[name, METRICS]}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            families = list(text_string_to_metric_families(answer.read().decode()))
        samples = {sample.name: sample for family in families for sample in family.samples}
        assert samples["mizzle_info"].labels == {"federation": FEDERATION, "service": name.replace("-", "_")}
        assert samples["mizzle_loop_age_seconds"].value < 10
        assert "mizzle_lag_entries" in samples, name
