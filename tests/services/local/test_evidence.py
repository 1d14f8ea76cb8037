"""The demo's evidence: honest books pass, and every claim that is broken once is named."""

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from mizzle.accounting import epsilon
from mizzle.envelope import Purpose, seal
from mizzle.messages import Counted, Receipt
from services.local import evidence
from services.local.evidence import Evidence, Killed, Rejoined
from tests.ledgers import RECEIPT_KEY, Books, device_key, honest

ROOT = Path(__file__).parents[3]
KEYS = (
    "accuracy accuracy_alone windows received counted refused abandoned duplicate open conservation_difference killed"
    " rejoined release epsilon delta bytes_up_per_update wall_s"
)


@dataclass
class Demo:
    """A demo that has ended well, until somebody meddles with it."""

    books: Books
    killed: list[Killed] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=lambda: [0.1, 0.76, 0.78, 0.8])

    def id(self, device: str, window: int) -> bytes:
        return self.books.ids[device, window]

    def ledger(self, change: str, *values: Any) -> None:
        with closing(sqlite3.connect(self.books.ledger, isolation_level=None)) as store:
            assert store.execute(change, values).rowcount > 0

    def outbox(self, device: str, change: str, *values: Any) -> None:
        with closing(sqlite3.connect(self.books.homes / device / "outbox.db", isolation_level=None)) as store:
            assert store.execute(change, values).rowcount > 0

    def read(self) -> Evidence:
        return evidence.read(
            self.books.ledger,
            self.books.homes,
            killed=self.killed,
            accuracies=self.accuracies,
            accuracy_alone=0.55,
            wall_s=9.5,
        )


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Books:
    return honest(tmp_path_factory.mktemp("honest"))


@pytest.fixture
def demo(original: Books, tmp_path: Path) -> Demo:
    folder = tmp_path / "copy"
    shutil.copytree(original.folder, folder)
    books = replace(original, folder=folder)
    members = frozenset((books.ids["a", 4], books.ids["b", 4]))
    return Demo(books, [Killed("aggregator", 77, signal.SIGKILL, 4, members)])


def test_honest_books_bear_the_story_out(demo: Demo) -> None:
    assert evidence.complaints(demo.read()) == []


def test_the_record_is_read_from_ledger_and_outboxes(demo: Demo) -> None:
    found = demo.read().to_json()
    spent = max(demo.books.settled.values())
    assert tuple(found) == tuple(KEYS.split())
    assert json.loads(json.dumps(found)) == {
        "accuracy": pytest.approx(0.78),
        "accuracy_alone": 0.55,
        "windows": 4,
        "received": 11,
        "counted": 10,
        "refused": 1,
        "abandoned": 0,
        "duplicate": 1,
        "open": 0,
        "conservation_difference": 0,
        "killed": [{"service": "aggregator", "pid": 77, "signal": 9, "members_before": 2, "members_after": 2}],
        "rejoined": [
            {"device": "c", "replayed": 1, "windows_missed": 1},
            {"device": "d", "replayed": 1, "windows_missed": 1},
        ],
        "release": {"version": 4, "verified": True},
        "epsilon": pytest.approx(epsilon(spent, 1e-5)),
        "delta": 1e-5,
        "bytes_up_per_update": pytest.approx(_mean_size(demo)),
        "wall_s": 9.5,
    }


def test_a_device_that_was_only_slow_has_not_rejoined(demo: Demo) -> None:
    demo.ledger("UPDATE updates SET admitted_at = 20500 WHERE device = 'c'")
    assert demo.read().rejoined == (Rejoined("d", 1, 1),)


def test_the_reader_shares_nothing_with_what_it_reads() -> None:
    """What is imported, in a process of its own."""
    program = "import sys, services.local.evidence; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    ours = {name for name in done.stdout.split() if name.split(".")[0] in ("mizzle", "services", "examples")}
    allowed = {"services", "services.local"}
    assert {name for name in ours if not name.startswith("services.local.evidence")} == allowed


def no_kill(demo: Demo) -> None:
    demo.killed = []


def another_signal(demo: Demo) -> None:
    demo.killed = [replace(demo.killed[0], signal=signal.SIGTERM)]


def nobody_there(demo: Demo) -> None:
    demo.killed = [replace(demo.killed[0], members=frozenset())]


def lost_member(demo: Demo) -> None:
    demo.killed = [replace(demo.killed[0], members=demo.killed[0].members | {demo.id("a", 3)})]


def receipt_without_row(demo: Demo) -> None:
    demo.ledger("DELETE FROM updates WHERE id = ?", demo.id("a", 1))


def dropped_receipt(demo: Demo) -> None:
    demo.outbox("b", "DELETE FROM receipts WHERE id = ?", demo.id("b", 2))


def row_without_receipt(demo: Demo) -> None:
    demo.ledger("UPDATE updates SET receipt = NULL WHERE id = ?", demo.id("b", 2))


def other_receipt(demo: Demo) -> None:
    """Another receipt that the right key signed: a second word about the same update."""
    update = demo.id("a", 2)
    outcome = Counted(release=2, window=2, weight=64)
    receipt = Receipt(federation="wrists", device="a", update=update, window=2, outcome=outcome, at=1)
    demo.outbox("a", "UPDATE receipts SET sealed = ? WHERE id = ?", _receipt(receipt), update)


def untrue_receipt(demo: Demo) -> None:
    """The ledger gives a receipt that its own row contradicts."""
    update = demo.id("h", 2)
    outcome = Counted(release=2, window=2, weight=64)
    receipt = _receipt(Receipt(federation="wrists", device="h", update=update, window=2, outcome=outcome, at=1))
    demo.ledger("UPDATE updates SET receipt = ? WHERE id = ?", receipt, update)
    demo.outbox("h", "UPDATE receipts SET sealed = ? WHERE id = ?", receipt, update)


def forged_receipt(demo: Demo) -> None:
    update = demo.id("a", 2)
    outcome = Counted(release=2, window=2, weight=64)
    receipt = Receipt(federation="wrists", device="a", update=update, window=2, outcome=outcome, at=25_000)
    forged = seal(receipt, Purpose.RECEIPT, device_key("a"), 1, 1)
    demo.ledger("UPDATE updates SET receipt = ? WHERE id = ?", forged, update)
    demo.outbox("a", "UPDATE receipts SET sealed = ? WHERE id = ?", forged, update)


def doubled_member(demo: Demo) -> None:
    """The same signed bytes a second time, under an id of their own."""
    copied = f"SELECT zeroblob(32), {_COLUMNS} FROM updates WHERE id = ?"  # noqa: S608  # our own names
    demo.ledger(f"INSERT INTO updates (id, {_COLUMNS}) {copied}", demo.id("a", 4))


def doubled_in_the_sum(demo: Demo) -> None:
    demo.ledger("UPDATE releases SET members = 3 WHERE version = 4")


def counted_elsewhere(demo: Demo) -> None:
    demo.ledger("UPDATE updates SET version = 3 WHERE id = ?", demo.id("a", 4))


def foreign_update(demo: Demo) -> None:
    demo.ledger("UPDATE devices SET public_key = ? WHERE device = 'a'", device_key("b").public_key)


def renamed_window(demo: Demo) -> None:
    demo.ledger("UPDATE updates SET named_window = 3 WHERE device = 'c'")


def lost_delivery(demo: Demo) -> None:
    demo.ledger("UPDATE deliveries SET count = count + 1 WHERE kind = 'deliveries'")


def made_up_admission(demo: Demo) -> None:
    demo.ledger("UPDATE deliveries SET count = count + 1 WHERE kind IN ('deliveries', 'first')")


def strange_outcome(demo: Demo) -> None:
    demo.ledger("UPDATE updates SET outcome = 'gone' WHERE id = ?", demo.id("h", 2))


def open_update(demo: Demo) -> None:
    demo.ledger("UPDATE updates SET outcome = 'open' WHERE id = ?", demo.id("a", 1))


def open_window(demo: Demo) -> None:
    demo.ledger("UPDATE windows SET state = 'open' WHERE number = 4")


def full_outbox(demo: Demo) -> None:
    demo.outbox("d", "INSERT INTO waiting (id, window, at, sealed, payload) VALUES (?, 4, 0, x'', x'')", bytes(32))


def edited_audit(demo: Demo) -> None:
    demo.ledger("UPDATE audit SET body = '{}' WHERE seq = 2")


def dropped_audit(demo: Demo) -> None:
    demo.ledger("DELETE FROM audit WHERE seq = 2")


def beheaded_audit(demo: Demo) -> None:
    demo.ledger("DELETE FROM audit WHERE seq = 1")


def missing_charge(demo: Demo) -> None:
    demo.ledger('DELETE FROM charges WHERE "update" = ?', demo.id("a", 1))


def lowered_charge(demo: Demo) -> None:
    demo.ledger('UPDATE charges SET loss = loss - 1 WHERE "update" = ?', demo.id("a", 1))
    demo.ledger("UPDATE budgets SET settled = settled - 1 WHERE device = 'a'")


def voided_charge(demo: Demo) -> None:
    demo.ledger("UPDATE charges SET state = 'void' WHERE \"update\" = ?", demo.id("a", 1))


def lasting_reservation(demo: Demo) -> None:
    demo.ledger("UPDATE charges SET state = 'reserved' WHERE \"update\" = ?", demo.id("a", 1))


def stray_charge(demo: Demo) -> None:
    demo.ledger('UPDATE charges SET "update" = ? WHERE "update" = ?', bytes(32), demo.id("a", 1))


def lowered_budget(demo: Demo) -> None:
    demo.ledger("UPDATE budgets SET settled = settled - 1 WHERE device = 'a'")


def less_noise(demo: Demo) -> None:
    demo.ledger("UPDATE releases SET sigma = sigma - 1 WHERE version = 2")


def understated_loss(demo: Demo) -> None:
    """The charges of two windows that nobody showed."""
    demo.ledger("UPDATE charges SET loss = 2 * loss WHERE device = 'a'")
    demo.ledger("UPDATE budgets SET settled = 2 * settled WHERE device = 'a'")


def no_refusal(demo: Demo) -> None:
    demo.ledger("UPDATE updates SET reason = 'late' WHERE device = 'h'")


def one_rejoined(demo: Demo) -> None:
    demo.ledger("UPDATE updates SET admitted_at = 20500 WHERE device = 'c'")


def no_release(demo: Demo) -> None:
    demo.ledger("DELETE FROM releases")


def forged_release(demo: Demo) -> None:
    demo.ledger("UPDATE server_keys SET public_key = ? WHERE role = 'release'", device_key("a").public_key)


def swapped_model(demo: Demo) -> None:
    demo.ledger("UPDATE blobs SET body = x'00' WHERE digest = (SELECT model_digest FROM releases WHERE version = 4)")


def second_release_of_a_window(demo: Demo) -> None:
    demo.ledger('UPDATE releases SET "window" = 3 WHERE version = 4')


def poor_accuracy(demo: Demo) -> None:
    demo.accuracies = [0.9, 0.74, 0.75, 0.75]


def no_gain(demo: Demo) -> None:
    demo.accuracies = [0.69]


BROKEN: list[tuple[Callable[[Demo], None], str]] = [
    (no_kill, "no aggregator was killed"),
    (another_signal, "no aggregator was killed"),
    (nobody_there, "had no member"),
    (lost_member, "1 of 3 members before the kill are not in window 4's release"),
    (receipt_without_row, "has no row in the ledger"),
    (dropped_receipt, "b holds no receipt of it"),
    (row_without_receipt, "without a receipt"),
    (row_without_receipt, "conservation is off by 1"),
    (other_receipt, "differs from the ledger's"),
    (untrue_receipt, "the ledger's row says refused"),
    (forged_receipt, "is forged"),
    (doubled_member, "a is counted 2 times for window 4: a member is counted twice"),
    (doubled_member, "is not named by what its device signed"),
    (doubled_member, "release 4 has 2 members, the ledger counts 3"),
    (doubled_in_the_sum, "release 4 has 3 members, the ledger counts 2"),
    (counted_elsewhere, "which its window 4 has not"),
    (foreign_update, "was not signed by a"),
    (renamed_window, "names another device or window in its signed header"),
    (renamed_window, "conservation is off by 2"),
    (lost_delivery, "conservation is off by 1"),
    (made_up_admission, "conservation is off by 1"),
    (strange_outcome, "conservation is off by 1"),
    (open_update, "1 updates are still open"),
    (open_window, "window 4 is still open"),
    (full_outbox, "still waits in the outbox of d"),
    (edited_audit, "the audit chain is broken at row 2"),
    (dropped_audit, "the audit chain is broken at row 3"),
    (beheaded_audit, "the audit chain is broken at row 2"),
    (missing_charge, "was never charged"),
    (lowered_charge, "a charge of a was lowered"),
    (voided_charge, "not settled for a in 1"),
    (lasting_reservation, "is still reserved"),
    (stray_charge, "a is charged for update 000000000000"),
    (lowered_budget, "the budget of a says"),
    (less_noise, "release 2 has noise"),
    (understated_loss, "release 4 shows ε"),
    (no_refusal, "no update was refused with reason norm"),
    (one_rejoined, "1 devices rejoined"),
    (no_release, "there is no release"),
    (forged_release, "release 4 does not verify"),
    (swapped_model, "release 4 does not verify"),
    (second_release_of_a_window, "release 4 is said to be of window 3"),
    (poor_accuracy, "below 0.75"),
    (no_gain, "less than 0.15 above"),
]


@pytest.mark.parametrize(("meddle", "complaint"), BROKEN)
def test_what_is_broken_once_is_named(demo: Demo, meddle: Callable[[Demo], None], complaint: str) -> None:
    meddle(demo)
    assert [text for text in evidence.complaints(demo.read()) if complaint in text]


def test_two_updates_of_a_device_in_one_sum_cost_what_their_weights_together_do(demo: Demo) -> None:
    """One draw of noise covers both, so the sum of their two prices would be too little."""
    demo.ledger("UPDATE updates SET device = 'a' WHERE device = 'c'")
    demo.ledger("UPDATE charges SET device = 'a' WHERE device = 'c'")
    assert [text for text in evidence.complaints(demo.read()) if text.startswith("a charge of a was lowered")]


_COLUMNS = (
    'federation, device, named_window, "window", staleness, weight, sealed, decided_by, admitted_at, outcome, reason,'
    " version, receipt, ended_at"
)


def _receipt(receipt: Receipt) -> bytes:
    return seal(receipt, Purpose.RECEIPT, RECEIPT_KEY, 1, 99)


def _mean_size(demo: Demo) -> float:
    with closing(sqlite3.connect(demo.books.ledger)) as store:
        header = store.execute("SELECT avg(length(sealed)) FROM updates WHERE outcome = 'counted'").fetchone()[0]
    return float(header) + 4 + 128 / 2  # 70 parameters take 128 levels of 4 bits
