"""Where nothing is wrong nothing is found."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

from examples.judge.codes import CODES
from examples.judge.evidence import gathered
from examples.judge.verdict import figures
from tests.examples.judge.maker import Files, copied, judged, world, written

ROOT: Final = Path(__file__).parents[3]


def run(files: Files, *more: str) -> subprocess.CompletedProcess[str]:
    asked = [sys.executable, "-m", "examples.judge", str(files.ledger), "--homes", str(files.homes)]
    asked += ["--trace", str(files.trace), *more]
    return subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_sound_federation_is_found_sound(tmp_path: Path) -> None:
    found = judged(world(), tmp_path)
    assert found.findings == ()
    assert figures(found) == {
        "lost": 0,
        "doubled": 0,
        "receipts_without_ledger_row": 0,
        "conservation_difference": 0,
    }


def test_a_sound_federation_is_sound_beside_itself(tmp_path: Path) -> None:
    assert judged(world(), tmp_path, earlier=world()).findings == ()


def test_what_has_happened_since_an_earlier_copy_is_no_fault(tmp_path: Path) -> None:
    before = world()
    before.ledger["audit"].pop()
    before.ledger["windows"].pop()
    before.ledger["updates"].pop()
    before.ledger["charges"].pop()
    before.ledger["deliveries"][0]["count"] -= 1
    assert judged(world(), tmp_path, earlier=before).findings == ()


def test_reading_leaves_the_evidence_as_it_was(tmp_path: Path) -> None:
    files = written(world(), tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    gathered(files.ledger, files.homes, files.trace, None)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_the_command_says_0_where_nothing_is_wrong(tmp_path: Path) -> None:
    done = run(written(world(), tmp_path))
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "Nothing is wrong.")


def test_the_command_says_9_and_what_is_wrong(tmp_path: Path) -> None:
    made = world()
    made.ledger["deliveries"][0]["count"] += 1
    done = run(written(made, tmp_path), "--json", str(tmp_path / "verdict.json"))
    said = json.loads((tmp_path / "verdict.json").read_text())
    assert done.returncode == 9
    assert "WRONG conservation-deliveries: pumps. 10 first admissions" in done.stdout
    assert said["conservation_difference"] == 1
    assert [finding["code"] for finding in said["findings"]] == ["conservation-deliveries"]


def test_the_command_says_1_where_the_evidence_cannot_be_read(tmp_path: Path) -> None:
    files = written(world(), tmp_path)
    files.ledger.write_bytes(b"no database")
    assert run(files).returncode == 1


def test_every_word_has_its_promise() -> None:
    said = "".join(path.read_text() for path in (ROOT / "examples" / "judge").glob("*.py") if path.name != "codes.py")
    endings = ("-gone", "-changed")
    assert [code for code in CODES if f'"{code}"' not in said and not code.endswith(endings)] == []


def test_a_copy_of_a_world_is_another_one() -> None:
    made = world()
    copied(made).ledger["updates"].clear()
    assert len(made.ledger["updates"]) == 9
