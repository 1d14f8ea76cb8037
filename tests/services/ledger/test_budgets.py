"""Budgets: no device passes its limit, whoever reserves at once, and a loss is never taken back."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert, select

from services.ledger import budgets
from services.ledger.budgets import Hold
from services.ledger.engine import connect, reading, writing
from services.ledger.migrate import migrate
from services.ledger.tables import BUDGETS, CHARGES

PLACE = ("pumps", "pump-1", 1)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    made = connect(f"sqlite:///{tmp_path / 'ledger.db'}", new=True)
    migrate(made)
    with writing(made) as tx:
        tx.execute(insert(BUDGETS), [{"device": f"pump-{n}", "settled": 0, "reserved": 0} for n in (1, 2)])
    return made


def reserve(engine: Engine, number: int, loss: int, limit: int = 100, place: tuple[str, str, int] = PLACE) -> bool:
    with writing(engine) as tx:
        held = budgets.held(tx, identity(number))
        return budgets.reserve(tx, Hold(identity(number), *place, loss), limit, held) is not None


def identity(number: int) -> bytes:
    return number.to_bytes(32, "big")


def budget(engine: Engine, device: str = "pump-1") -> tuple[int, int]:
    with reading(engine) as tx:
        row = tx.execute(select(BUDGETS).where(BUDGETS.c.device == device)).one()
        return (row.settled, row.reserved)


def charges(engine: Engine) -> list[tuple[int, str, int | None]]:
    with reading(engine) as tx:
        return [tuple(row) for row in tx.execute(select(CHARGES.c.loss, CHARGES.c.state, CHARGES.c.version))]


def test_a_reservation_counts_up_to_the_limit_and_not_beyond(engine: Engine) -> None:
    assert [reserve(engine, number, 40) for number in range(3)] == [True, True, False]
    assert reserve(engine, 3, 20)
    assert (budget(engine), len(charges(engine))) == ((0, 100), 3)


def test_reservations_at_once_cannot_jointly_pass_the_limit(engine: Engine) -> None:
    with ThreadPoolExecutor(8) as threads:
        taken = list(threads.map(lambda number: reserve(engine, number, 30), range(16)))
    assert taken.count(True) == 3
    assert budget(engine) == (0, 90)


def test_a_budget_is_over_all_federations_of_a_device(engine: Engine) -> None:
    assert reserve(engine, 1, 60)
    assert not reserve(engine, 2, 60, place=("valves", "pump-1", 1))


def test_a_limit_is_each_devices_own(engine: Engine) -> None:
    assert reserve(engine, 1, 100)
    assert reserve(engine, 2, 100, place=("pumps", "pump-2", 1))


def test_a_device_without_a_budget_reserves_nothing(engine: Engine) -> None:
    assert not reserve(engine, 1, 1, place=("pumps", "stranger", 1))


def test_an_update_that_is_bound_again_replaces_what_it_reserved(engine: Engine) -> None:
    assert reserve(engine, 1, 80)
    assert reserve(engine, 1, 50, place=("pumps", "pump-1", 2))
    assert (budget(engine), charges(engine)) == ((0, 50), [(50, "reserved", None)])


def test_what_is_settled_counts_for_ever(engine: Engine) -> None:
    reserve(engine, 1, 60)
    settle(engine, 1, version=7)
    settle(engine, 1, version=8)
    void(engine, 1)
    assert (budget(engine), charges(engine)) == ((60, 0), [(60, "settled", 7)])
    assert not reserve(engine, 2, 60)


def test_what_is_void_is_given_back_once(engine: Engine) -> None:
    reserve(engine, 1, 60)
    reserve(engine, 2, 30)
    void(engine, 1)
    void(engine, 1)
    assert (budget(engine), charges(engine)) == ((0, 30), [(60, "void", None), (30, "reserved", None)])


def test_who_has_room_is_who_can_pay(engine: Engine) -> None:
    reserve(engine, 1, 60)
    with reading(engine) as tx:
        assert budgets.with_room(tx, ["pump-1", "pump-2", "stranger"], 41, 100) == {"pump-2"}
        assert budgets.with_room(tx, ["pump-1", "pump-2"], 40, 100) == {"pump-1", "pump-2"}
        assert [budgets.spent(tx, device) for device in ("pump-1", "stranger")] == [60, 0]


def settle(engine: Engine, number: int, version: int) -> None:
    with writing(engine) as tx:
        budgets.settle(tx, [identity(number)], version)


def void(engine: Engine, number: int) -> None:
    with writing(engine) as tx:
        budgets.void(tx, [identity(number)])
