"""The tree keeps the rules of `tests.architecture`, and each rule notices a file that breaks it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture import (
    OURS,
    RULES,
    Rule,
    bypasses_transport,
    goes_the_wrong_way,
    has_a_long_function,
    has_a_vague_name,
    import_cycle,
    is_impure,
    is_pure,
    percentile_95,
    strangers,
    swallows_everything,
    unpickles,
)
from tests.sources import Source, functions

TREE = Path(__file__).parent.parent
SOURCES = tuple(
    Source(path.relative_to(TREE).as_posix(), path.read_text(encoding="utf-8"))
    for folder in OURS
    for path in sorted((TREE / folder).rglob("*.py"))
    if path != TREE / "bench" / "bare.py"  # the yardstick is kept as it was given
)
PRODUCT = tuple(source for source in SOURCES if not source.path.startswith("tests/"))
EXPECTED_PURE = (
    "mizzle/accounting.py",
    "mizzle/blobs.py",
    "mizzle/codec.py",
    "mizzle/codecs/hadamard.py",
    "mizzle/device/session.py",
    "mizzle/envelope.py",
    "mizzle/errors.py",
    "mizzle/grid.py",
    "mizzle/manifest.py",
    "mizzle/mechanisms/gaussian.py",
    "mizzle/messages.py",
    "mizzle/parts.py",
    "mizzle/plan.py",
    "mizzle/plugins.py",
    "mizzle/topics.py",
    "mizzle/vocabulary.py",
    "services/aggregator/combine.py",
    "services/anomaly_detector/judge.py",
    "services/gateway/receive.py",
    "services/privacy_accountant/charge.py",
    "services/releaser/release.py",
    "services/selector/invite.py",
)


HEAVY = frozenset({"cryptography", "opacus", "redis", "sqlalchemy", "torch"})
"""What `import mizzle` must do without."""
BROKEN: tuple[tuple[Rule, str, str], ...] = (
    (goes_the_wrong_way, "services/gateway/receive.py", "from services.selector.invite import step"),
    (goes_the_wrong_way, "services/gateway/__main__.py", "import services.selector"),
    (goes_the_wrong_way, "services/gateway/deliver.py", "from services.releaser import release"),
    (goes_the_wrong_way, "services/gateway/receive.py", "from services.runtime.shell import serve"),
    (goes_the_wrong_way, "services/gateway/receive.py", "from services import pipeline"),
    (goes_the_wrong_way, "services/gateway/receive.py", "from services.gateway.deliver import publish"),
    (goes_the_wrong_way, "services/gateway/receive.py", "from . import deliver"),
    (goes_the_wrong_way, "services/gateway/deliver.py", "from ..selector.invite import step"),
    (goes_the_wrong_way, "services/gateway/deliver.py", "from services.gateway.__main__ import serve"),
    (goes_the_wrong_way, "services/selector/policies/uniform.py", "from mizzle.device.outbox import Outbox"),
    (goes_the_wrong_way, "services/selector/policies/uniform.py", "from services.aggregator.combine import step"),
    (goes_the_wrong_way, "services/runtime/stage.py", "from services.gateway.receive import step"),
    (goes_the_wrong_way, "services/ledger/releases.py", "from services.local.processes import Processes"),
    (goes_the_wrong_way, "services/local/demo.py", "from services.aggregator.combine import step"),
    (goes_the_wrong_way, "services/local/demo.py", "import_module('services.aggregator.combine')"),
    (goes_the_wrong_way, "services/operator/__main__.py", "from services.releaser.release import step"),
    (goes_the_wrong_way, "services/doctor/command.py", "import services.operator"),
    (goes_the_wrong_way, "mizzle/grid.py", "from mizzle.transport.mqtt_bus import MqttBus"),
    (goes_the_wrong_way, "mizzle/grid.py", "import mizzle"),
    (goes_the_wrong_way, "mizzle/device/session.py", "from mizzle.failpoints import failpoint"),
    (goes_the_wrong_way, "services/aggregator/combine.py", "from mizzle.failpoints import failpoint"),
    (goes_the_wrong_way, "mizzle/device/train.py", "from services.runtime.settings import Settings"),
    (goes_the_wrong_way, "mizzle/cli.py", "from examples.watch import tensors"),
    (goes_the_wrong_way, "examples/replay.py", "from services.ledger import tables"),
    (goes_the_wrong_way, "examples/judge/receipts.py", "from mizzle.envelope import unseal"),
    (goes_the_wrong_way, "examples/judge/ledger.py", "from services.ledger import tables"),
    (goes_the_wrong_way, "services/aggregator/combine.py", "from tests.sources import Source"),
    (is_impure, "mizzle/grid.py", "import os"),
    (is_impure, "mizzle/grid.py", "def now():\n    import time"),
    (is_impure, "mizzle/grid.py", "from os import urandom"),
    (is_impure, "mizzle/codecs/sketch.py", "import random"),
    (is_impure, "mizzle/mechanisms/gaussian.py", "import secrets"),
    (is_impure, "mizzle/device/session.py", "import sqlite3"),
    (is_impure, "mizzle/transport/bus.py", "import socket"),
    (is_impure, "mizzle/a_new_one.py", "import threading"),
    (is_impure, "services/aggregator/combine.py", "import logging"),
    (is_impure, "services/aggregator/combine.py", "import redis.asyncio"),
    (is_impure, "services/aggregator/strategies/fedavg.py", "import paho.mqtt.client as mqtt"),
    (is_impure, "services/anomaly_detector/scores/norm.py", "import importlib\nimportlib.import_module('socket')"),
    (is_impure, "services/selector/invite.py", "import datetime\ndatetime.datetime.now()"),
    (is_impure, "services/selector/invite.py", "from datetime import UTC, datetime as clock\nclock.now(UTC)"),
    (is_impure, "services/selector/invite.py", "import datetime as dt\ntoday = dt.date.today"),
    (is_impure, "services/selector/policies/uniform.py", "import numpy as np\nnp.random.shuffle([])"),
    (is_impure, "services/selector/policies/uniform.py", "import numpy as np\nnp.random.default_rng()"),
    (is_impure, "services/selector/policies/uniform.py", "from numpy.random import Philox\nPhilox(None)"),
    (is_impure, "mizzle/envelope.py", "from nacl.signing import SigningKey\nSigningKey.generate()"),
    (bypasses_transport, "mizzle/device/train.py", "import socket"),
    (bypasses_transport, "mizzle/device/train.py", "from time import monotonic"),
    (bypasses_transport, "mizzle/device/train.py", "from datetime import datetime\ndatetime.utcnow()"),
    (bypasses_transport, "mizzle/device/train.py", "import sqlite3"),
    (bypasses_transport, "mizzle/device/outbox.py", "import time"),
    (bypasses_transport, "mizzle/releases.py", "from paho.mqtt.client import Client"),
    (bypasses_transport, "mizzle/releases.py", "import asyncio\nasyncio.open_connection()"),
    (bypasses_transport, "mizzle/transport/mqtt_bus.py", "import sqlalchemy"),
    (bypasses_transport, "mizzle/__init__.py", "import redis"),
    (unpickles, "mizzle/manifest.py", "import pickle"),
    (unpickles, "mizzle/device/trainers/torch.py", "import torch\ntorch.load('x')"),
    (unpickles, "services/runtime/payloads.py", "import numpy as np\nnp.load('x', allow_pickle=True)"),
    (swallows_everything, "services/runtime/stage.py", "try:\n    pass\nexcept:\n    pass"),
    (swallows_everything, "services/runtime/stage.py", "try:\n    pass\nexcept Exception:\n    pass"),
    (swallows_everything, "mizzle/cli.py", "try:\n    pass\nexcept (OSError, BaseException) as e:\n    pass"),
    (
        swallows_everything,
        "mizzle/cli.py",
        "try:\n    pass\nexcept Exception:  # noqa: BLE001, S110 - why not\n    pass",
    ),
    (swallows_everything, "mizzle/cli.py", "import contextlib\nwith contextlib.suppress(Exception):\n    pass"),
    (has_a_long_function, "tests/test_x.py", "def long():\n" + "    1\n" * 60),
    (has_a_long_function, "mizzle/x.py", "class X:\n    async def long(self):\n" + "        1\n" * 60),
    (has_a_vague_name, "mizzle/utils.py", ""),
    (has_a_vague_name, "services/gateway/core/receive.py", ""),
    (has_a_vague_name, "services/gateway/session_manager.py", ""),
    (has_a_vague_name, "tests/mizzle/test_helpers.py", ""),
)
KEPT: tuple[tuple[str, str], ...] = (
    (
        "services/gateway/__main__.py",
        "from services.gateway.receive import step\nfrom services.runtime.shell import serve",
    ),
    ("services/gateway/receive.py", "from mizzle.transport.bus import AckToken\nfrom mizzle import messages"),
    ("services/selector/invite.py", "from services.selector.policies.uniform import Uniform"),
    ("services/selector/invite.py", "from datetime import UTC, datetime\ndatetime.fromtimestamp(0, UTC)"),
    ("services/selector/invite.py", "import numpy as np\nnp.random.Generator(np.random.Philox(key=7))"),
    ("services/runtime/stage.py", "import time\nfrom services.ledger import tables"),
    ("examples/judge/receipts.py", "from . import envelope"),
    ("services/local/demo.py", "import socket\nfrom services.pipeline import FLOW"),
    ("mizzle/transport/mqtt_bus.py", "import time\nfrom paho.mqtt.client import Client"),
    ("mizzle/device/outbox.py", "import sqlite3"),
    (
        "mizzle/cli.py",
        "try:\n    pass\nexcept Exception:  # noqa: BLE001 - the last line of a program says what broke\n    pass",
    ),
    ("mizzle/cli.py", "def short():\n" + "    1\n" * 59),
    ("mizzle/database.py", "import numpy as np\nnp.load('x', allow_pickle=False)"),
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_no_file_breaks_the_rule(rule: Rule) -> None:
    faults = [fault for source in SOURCES for fault in rule(source)]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(("rule", "path", "text"), BROKEN)
def test_a_rule_notices_a_file_that_breaks_it(rule: Rule, path: str, text: str) -> None:
    line = text.count("\n") + 1
    (fault,) = rule(Source(path, text))
    assert fault.startswith(tuple(f"{path}:{number}: " for number in range(1, line + 1)))


@pytest.mark.parametrize(("path", "text"), KEPT)
def test_the_rules_let_pass_what_keeps_them(path: str, text: str) -> None:
    assert [fault for rule in RULES for fault in rule(Source(path, text))] == []


def test_every_rule_is_shown_a_file_that_breaks_it() -> None:
    assert {rule for rule, _, _ in BROKEN} == set(RULES)


def test_imports_make_no_circle() -> None:
    circle = import_cycle(SOURCES)
    assert not circle, " → ".join(circle)


def test_a_circle_of_imports_is_noticed() -> None:
    one = Source("mizzle/one.py", "from mizzle import two")
    two = Source("mizzle/two.py", "from mizzle.three.four import five")
    three = Source("mizzle/three/four.py", "def later():\n    import mizzle.one")
    circle = import_cycle((Source("mizzle/__init__.py", ""), one, two, three))
    assert (circle[0], set(circle)) == (circle[-1], {one.module, two.module, three.module})
    assert import_cycle((one, two)) == []


def test_95_of_100_functions_are_under_30_lines() -> None:
    assert percentile_95(length for source in PRODUCT for _, _, length in functions(source)) < 30


@pytest.mark.parametrize(
    ("lengths", "expected"), [([], 0), ([40], 40), ([1] * 95 + [40] * 5, 1), ([1] * 94 + [40] * 6, 40)]
)
def test_the_95th_percentile_is_a_length_that_occurs(lengths: list[int], expected: int) -> None:
    assert percentile_95(lengths) == expected


def test_the_top_of_the_tree_is_what_the_design_says() -> None:
    ignored = (TREE / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert strangers((path.name for path in TREE.iterdir()), ignored) == []


def test_a_stranger_at_the_top_of_the_tree_is_noticed() -> None:
    assert strangers(["mizzle", "scripts", ".venv", "x.egg-info"], [".venv/", "*.egg-info/"]) == ["scripts"]


@pytest.mark.parametrize("path", EXPECTED_PURE)
def test_every_pure_file_is_there_and_held_to_be_pure(path: str) -> None:
    assert (TREE / path).is_file()
    assert is_pure(Source(path, "").module)


def test_importing_mizzle_loads_nothing_heavy() -> None:
    """A device of 60 MB and a start-up of 0.3 s have no room for them."""
    assert loaded_by("mizzle") & HEAVY == frozenset()


def test_an_import_that_loads_something_heavy_is_noticed() -> None:
    assert loaded_by("sqlalchemy") & HEAVY == {"sqlalchemy"}


def loaded_by(module: str) -> set[str]:
    """The top-level packages in a fresh interpreter that has imported `module`."""
    command = f"import sys, {module}; print(*(name for name in sys.modules if '.' not in name))"
    run = subprocess.run([sys.executable, "-c", command], cwd=TREE, check=True, capture_output=True, text=True)
    return set(run.stdout.split())
