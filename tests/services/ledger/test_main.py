"""What an operator does by hand, as a program: its exit statuses are told by number."""

import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from services.ledger.commands import app
from tests.services.plans import MODEL, TOML


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    text = TOML.format(goal=3, late="fold", noise=2.0, budget=10.0, crowd=2, windows="", staleness=2)
    (tmp_path / "plan.toml").write_text(text)
    (tmp_path / "w.safetensors").write_bytes(MODEL)
    return tmp_path


def run(folder: Path, *arguments: str) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "services.ledger", *arguments, "--ledger", f"sqlite:///{folder / 'ledger.db'}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3])
    return done.returncode, done.stdout, done.stderr


def created(folder: Path) -> tuple[int, str, str]:
    return run(folder, "create", "--plan", str(folder / "plan.toml"), "--keys", str(folder / "keys"))


def test_a_federation_is_created_gives_tokens_and_verifies(folder: Path) -> None:
    status, out, _ = created(folder)
    assert (status, [line.split()[0] for line in out.splitlines()]) == (0, ["receipt", "invitation", "release"])
    status, out, _ = run(folder, "token", "pump-1", "--federation", "pumps")
    assert (status, out.startswith("mzt1.pumps.pump-1.")) == (0, True)
    assert run(folder, "migrate")[0] == 0
    status, end, _ = run(folder, "verify")
    assert (status, end.split(":")[0]) == (0, "2")
    assert run(folder, "verify", "--head", end.strip())[:2] == (0, end)


def test_a_broken_audit_chain_is_exit_9(folder: Path) -> None:
    created(folder)
    with sqlite3.connect(folder / "ledger.db") as tampering:
        tampering.execute("UPDATE audit SET at = at + 1")
    tampering.close()
    status, _, said = run(folder, "verify")
    assert (status, "breaks at row 1" in said) == (9, True)


def test_a_federation_that_is_not_there_is_exit_3(folder: Path) -> None:
    assert run(folder, "verify")[0] == 3
    assert run(folder, "token", "pump-1", "--federation", "pumps")[0] == 3
    assert run(folder, "create", "--plan", str(folder / "none.toml"), "--keys", str(folder / "keys"))[0] == 3


def test_a_ledger_is_backed_up_restored_proven_and_resumed(folder: Path) -> None:
    """As docs/operations.md says it; each command's end is told by its status and in words."""
    created(folder)
    status, end, _ = run(folder, "backup", str(folder / "copy.db"))
    assert (status, end.split(":")[0]) == (0, "1")
    assert run(folder, "backup", str(folder / "copy.db"))[0] == 3
    run(folder, "token", "pump-1", "--federation", "pumps")
    (folder / "ledger.db").unlink()
    status, _, said = run(folder, "restore", str(folder / "copy.db"))
    assert (status, "until: services.ledger resume" in said) == (0, True)
    status, _, said = run(folder, "verify", "--head", end.strip())
    assert (status, "it waits for a person: services.ledger resume" in said) == (0, True)
    wanted = ("resume", "--federation", "pumps", "--because", "the disk was lost")
    status, _, said = run(folder, *wanted)
    assert (status, "--newest-release N --newest-window N" in said) == (3, True)
    assert run(folder, *wanted, "--newest-release", "0", "--newest-window", "0")[0] == 0
    assert run(folder, *wanted, "--newest-release", "0", "--newest-window", "0")[0] == 3


def test_every_command_that_the_operations_page_types_is_there() -> None:
    page = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()
    typed = set(re.findall(r"(?:operator|services\.ledger) ([a-z]+)\b", page.replace("--no-deps ", "")))
    known = {
        command.name or (command.callback.__name__ if command.callback else "") for command in app.registered_commands
    }
    assert {"backup", "restore", "resume", "tidy", "verify"} <= typed
    assert typed - known - {"doctor"} == set()


def test_rows_of_updates_that_ended_long_ago_are_cleaned_up_by_hand(folder: Path) -> None:
    created(folder)
    assert run(folder, "tidy", "--federation", "pumps")[:2] == (0, "0 rows of updates went\n")
    assert run(folder, "tidy", "--federation", "pumps", "--days", "1")[0] == 2
