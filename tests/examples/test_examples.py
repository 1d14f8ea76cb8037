"""The device scripts are short and learn alike, and the plan beside them is what it says."""

import ast
import hashlib
import importlib
import io
import runpy
import tokenize
from contextvars import copy_context
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file

from examples import alone, watch
from mizzle.device.effects import Train
from mizzle.device.environment import ENVIRONMENT
from mizzle.device.events import Trained
from mizzle.device.train import MADE, Device
from mizzle.device.training import Trainer
from mizzle.errors import Misconfigured
from mizzle.messages import Invitation, ModelRef
from mizzle.model import flat_of
from mizzle.plan import Plan, from_toml
from mizzle.transport.clock import now

EXAMPLES = Path(watch.__file__).parent
SCRIPTS = ("device_torch.py", "device_numpy.py")
MODEL = watch.PLAN.with_name("mlp-36-64-7.safetensors")
PATIENCE_S = 600.0
QUIET = {"COMMENT", "NL", "NEWLINE", "INDENT", "DEDENT", "ENDMARKER"}


def plan(**settings: Any) -> Plan:
    """The plan, with other settings for training if any are given, and time for all of it.

    A task ends early at the deadline, and on a busy machine the plan's own six seconds may be over before torch has
    begun.
    """
    read = from_toml(watch.PLAN.read_text(), MODEL.read_bytes())
    window = msgspec.structs.replace(read.window, deadline_s=PATIENCE_S)
    return msgspec.structs.replace(read, train=read.train | settings, window=window)


def order(plan: Plan) -> Train:
    """A window's task from the first weights, with a while to do it."""
    model = MODEL.read_bytes()
    invitation = Invitation(
        federation=plan.federation,
        device="3-left",
        window=1,
        base=ModelRef(version=0, digest=hashlib.sha256(model).digest(), size=len(model)),
        plan=plan.digest,
        epoch=1,
        deadline=now() + round(PATIENCE_S * 1000),
        seed=bytes(32),
        bound=2**21,
    )
    return Train(invitation, plan, model)


def device_of(script: str, home: Path) -> Device:
    """The device that a script makes; it has no token, so it stops where it would connect."""
    made: list[Device] = []
    MADE.set(made.append)
    ENVIRONMENT.set({"MIZZLE_BROKER": "mqtt://127.0.0.1:1", "MIZZLE_HOME": str(home), "WATCH_WRIST": "3-left"})
    with pytest.raises(Misconfigured, match="MIZZLE_TOKEN"):
        runpy.run_path(str(EXAMPLES / script))
    return made[0]


def learned(script: str, home: Path, plan: Plan) -> NDArray[np.float64]:
    """Δ: what the script's device learns in one window, before it is clipped; shuffled alike for every script."""

    def lives() -> bytes:
        function = device_of(script, home)._function
        assert function is not None
        done = Trainer("3-left", function, 1, lambda change, *_: change.tobytes(), lambda _: None).do(order(plan))
        assert isinstance(done.end, Trained)
        return done.end.payload

    return np.frombuffer(copy_context().run(lives))


def code_lines(text: str) -> set[int]:
    """The lines of `text` that hold code: no blank ones, no comments, no docstring."""
    told = {
        line
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    held = {
        line
        for token in tokens
        if tokenize.tok_name[token.type] not in QUIET
        for line in range(token.start[0], token.end[0] + 1)
    }
    return held - told


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_device_is_at_most_fifteen_lines_of_code(script: str) -> None:
    assert len(code_lines((EXAMPLES / script).read_text())) <= 15


def test_lines_of_code_are_counted_without_blanks_comments_and_docstrings() -> None:
    assert code_lines(
        '"""One\ntwo."""\n\nx = (1,  # three\n  # four\n  2)\n\ndef f():\n    """Five."""\n    return x\n'
    ) == {4, 6, 8, 10}


def test_statements_do_not_share_a_line() -> None:
    """Fifteen lines are fifteen lines: no semicolons, no body behind its colon."""
    for script in SCRIPTS:
        tree = ast.parse((EXAMPLES / script).read_text())
        starts = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.stmt)]
        assert len(starts) == len(set(starts)), script


@pytest.mark.parametrize("settings", [{}, {"epochs": 1, "batch_size": 200}], ids=["two epochs", "one step"])
def test_torch_and_numpy_learn_the_same(settings: dict[str, int], tmp_path: Path) -> None:
    by_torch, by_numpy = (learned(script, tmp_path, plan(**settings)) for script in SCRIPTS)
    assert np.abs(by_numpy).max() > 0.01
    assert np.abs(by_torch - by_numpy).max() < 1e-5


def test_a_wrist_alone_learns_as_a_device_does(tmp_path: Path) -> None:
    """In one step over all its examples, whose order makes no difference."""
    once, start = plan(epochs=1, batch_size=200), load_file(MODEL)
    after = alone.trained(start, watch.wrist("3-left"), once.train, epochs=1)
    change = flat_of(MODEL.read_bytes(), after) - flat_of(MODEL.read_bytes(), start)
    assert np.abs(change - learned("device_numpy.py", tmp_path, once)).max() < 1e-5


def test_the_plans_files_are_made_again_to_the_byte() -> None:
    made: dict[str, bytes] = importlib.import_module("examples.watch-har.make").made()
    assert made == {name: watch.PLAN.with_name(name).read_bytes() for name in ("person-7.json", MODEL.name)}


def test_the_model_is_the_one_that_torch_builds() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(36, 64), torch.nn.ReLU(), torch.nn.Linear(64, 7))
    shapes = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    assert {name: array.shape for name, array in load_file(MODEL).items()} == shapes


def test_the_plan_is_a_plan() -> None:
    window = plan().window
    assert (window.goal, window.invited, window.windows, plan().model.parameters) == (12, 12, 15, 2823)
    assert plan().train == {"epochs": 2, "batch_size": 10, "learning_rate": 0.05, "input": "person-7.json"}


def test_a_wrist_alone_gets_hardly_more_than_half_right() -> None:
    assert 0.50 < alone.alone(plan().train, epochs=30) < 0.60


def test_accuracy_is_the_share_of_held_out_windows_labelled_rightly() -> None:
    """A model that always says 2 is right as often as 2 is."""
    always = {name: np.zeros_like(array) for name, array in load_file(MODEL).items()}
    always["2.bias"][2] = 1
    assert alone.accuracy(always) == np.mean(watch.held_out()[1] == 2)
