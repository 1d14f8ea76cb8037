"""`python -m services.local` as a program: what is wrong is said in a sentence, and told by its exit status."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from examples.watch import PLAN
from tests.lives import CHECKOUT

USAGE, CONFIGURATION = 2, 3


def run(*arguments: str, **environment: str) -> tuple[int, str]:
    argv = [sys.executable, "-m", "services.local", *arguments]
    found = {**os.environ, **environment}
    done = subprocess.run(argv, cwd=CHECKOUT, env=found, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    "arguments",
    [(), ("bogus",), ("demo", "--bogus"), ("demo", "--seed", "x"), ("demo", "--seed", "-1"), ("demo", "extra")],
    ids=" ".join,
)
def test_what_is_no_command_is_answered_with_the_usage(arguments: tuple[str, ...]) -> None:
    status, said = run(*arguments)
    assert (status, "Traceback" in said) == (USAGE, False)
    assert "Usage" in said


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("goal = = 12", "is no TOML"),
        ("schema = 1", "names the model beside the plan, got None"),
        ("model = 5", "names the model beside the plan, got 5"),
        ('model = "nowhere.safetensors"', "nowhere.safetensors cannot be read"),
        (PLAN.read_text().replace("quorum", "quorun"), "did you mean 'quorum'"),
        (PLAN.read_text().replace('"history"', '"histroy"'), "no plug-in 'histroy'"),
        (PLAN.read_text().replace('"uniform"\n', '"unform"\n', 1), "no plug-in 'unform'"),
        (PLAN.read_text().replace('"fedavg"', '"fedagv"'), "no plug-in 'fedagv'"),
        ("\udcff", "is no TOML"),
    ],
)
def test_a_plan_that_is_none_is_answered_with_what_is_wrong(tmp_path: Path, text: str, what: str) -> None:
    shutil.copy(PLAN.with_name("mlp-36-64-7.safetensors"), tmp_path)
    (tmp_path / "plan.toml").write_text(text, errors="surrogateescape")
    status, said = run("up", "--plan", str(tmp_path / "plan.toml"))
    assert (status, "Traceback" in said) == (CONFIGURATION, False)
    assert what in said


def test_a_plan_that_is_not_there_is_named(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "plan.toml"):
        status, said = run("up", "--plan", str(path))
        assert status == CONFIGURATION
        assert f"{path} cannot be read" in said


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "bogus"])
def test_a_redis_that_does_not_answer_is_named_at_once(url: str) -> None:
    status, said = run("demo", REDIS_URL=url)
    assert (status, "Traceback" in said) == (CONFIGURATION, False)
    assert f"REDIS_URL names {url}," in said


def test_a_report_that_cannot_be_written_is_refused_before_anything_starts(tmp_path: Path) -> None:
    status, said = run("demo", "--json", str(tmp_path / "nowhere" / "report.json"))
    assert status == CONFIGURATION
    assert f"got {tmp_path / 'nowhere'}" in said


def test_a_password_in_the_address_of_a_redis_is_not_repeated() -> None:
    status, said = run("up", REDIS_URL="redis://somebody:a-secret@127.0.0.1:1/0")
    assert (status, "a-secret" in said) == (CONFIGURATION, False)


def test_what_is_handed_out_goes_into_a_folder_or_nothing_starts(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    status, said = run("up", "--env", str(tmp_path / "file"))
    assert (status, "runs: broker" in said) == (CONFIGURATION, False)
    assert f"--env names a folder, there or to be made; got {tmp_path / 'file'}" in said


def test_a_report_that_is_a_folder_is_refused_before_anything_starts(tmp_path: Path) -> None:
    assert run("demo", "--json", str(tmp_path))[0] == CONFIGURATION


def test_what_chaos_leaves_is_never_mixed_with_what_is_there_already(tmp_path: Path) -> None:
    status, said = run("chaos", "--keep", str(tmp_path))
    assert (status, "first window" in said) == (CONFIGURATION, False)
    assert f"--keep names a folder that is not there yet; got {tmp_path}" in said


def test_a_verdict_that_cannot_be_written_is_refused_before_anything_starts(tmp_path: Path) -> None:
    status, said = run("chaos", "--json", str(tmp_path / "nowhere" / "verdict.json"))
    assert (status, "first window" in said) == (CONFIGURATION, False)


@pytest.mark.parametrize("budget", ["-5", "nan"])
def test_what_is_no_budget_is_refused_before_anything_starts(budget: str) -> None:
    status, said = run("demo", "--budget", budget)
    assert (status, "started" in said) == (CONFIGURATION, False)
    assert "budget" in said
