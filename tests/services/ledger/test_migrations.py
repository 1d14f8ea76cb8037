"""The tables that the migrations make are those that the program works with."""

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, text

from mizzle.errors import Misconfigured
from services.ledger.checks import checked
from services.ledger.engine import connect, reading, writing
from services.ledger.ledger import refuse_other_tables
from services.ledger.migrate import migrate
from services.ledger.tables import METADATA, PAST_DEVICES, PAST_UPDATES, RESTORATIONS, REVISION, SURCHARGES
from tests.services.federations import federation

NEW = {"past_updates", "past_devices", "restorations", "surcharges"}


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    made = connect(f"sqlite:///{tmp_path / 'ledger.db'}", new=True)
    migrate(made)
    return made


def test_the_migrated_tables_are_the_programs(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []


def test_a_table_that_no_migration_makes_is_noticed(engine: Engine) -> None:
    with writing(engine) as tx:
        tx.execute(text("DROP TABLE budgets"))
    with engine.connect() as connection:
        assert len(compare_metadata(MigrationContext.configure(connection), METADATA)) == 1


def test_the_newest_migration_is_the_one_that_the_program_wants() -> None:
    folder = Path(migrate.__code__.co_filename).with_name("migrations")
    assert ScriptDirectory(str(folder)).get_current_head() == REVISION


def test_migrating_twice_changes_nothing(engine: Engine) -> None:
    before = inspect(engine).get_table_names()
    migrate(engine)
    assert inspect(engine).get_table_names() == before


def test_a_ledger_of_the_first_tables_keeps_every_row_and_goes_on(tmp_path: Path) -> None:
    """It is made as the first version of this program made it: the later tables are taken away from a newer one."""
    ours = federation(tmp_path)
    ours.run()
    ours.open(after=1)
    with writing(ours.ledger.engine) as tx:
        for table in (PAST_UPDATES, PAST_DEVICES, RESTORATIONS, SURCHARGES):
            table.drop(tx)
        tx.execute(text("DROP INDEX updates_by_end"))
        tx.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    older = {table.name: ours.rows(table) for table in METADATA.sorted_tables if table.name not in NEW}
    with pytest.raises(Misconfigured, match=r"services\.ledger migrate"):
        refuse_other_tables(ours.ledger.engine)
    migrate(ours.ledger.engine)
    assert {table.name: ours.rows(table) for table in METADATA.sorted_tables if table.name not in NEW} == older
    with ours.ledger.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), METADATA) == []
    ours.charge(ours.verdict("pump-1", window := ours.open(after=1)))
    assert window.number == 2
    with reading(ours.ledger.engine) as tx:
        assert [str(found) for found in checked(tx) if not found.is_well] == []


def test_tables_of_another_version_are_refused(engine: Engine) -> None:
    refuse_other_tables(engine)
    with writing(engine) as tx:
        tx.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    with pytest.raises(Misconfigured, match=r"services\.ledger migrate"):
        refuse_other_tables(engine)


def test_a_file_without_tables_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="tables of version none"):
        refuse_other_tables(connect(f"sqlite:///{tmp_path / 'empty.db'}", new=True))
