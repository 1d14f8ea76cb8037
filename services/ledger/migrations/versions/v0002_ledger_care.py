"""Tables for what is left of updates that were cleaned up, and for ledgers that were restored."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

LONG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make them, and the index by which the oldest endings are found."""
    op.create_index("updates_by_end", "updates", ["federation", "ended_at"])
    _past()
    _restored()


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.String(200), nullable=False)


def _long(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, LONG, nullable=nullable)


def _past() -> None:
    op.create_table(
        "past_updates",
        _text("federation"),
        _long("named_window"),
        _text("outcome"),
        _text("reason"),
        _long("version"),
        _long("count"),
        sa.PrimaryKeyConstraint("federation", "named_window", "outcome", "reason", "version"),
    )
    op.create_table(
        "past_devices",
        _text("federation"),
        _text("device"),
        _long("named_window"),
        _long("mark"),
        sa.Column("ended", sa.LargeBinary, nullable=False),
        _long("settled"),
        sa.PrimaryKeyConstraint("federation", "device"),
    )


def _restored() -> None:
    op.create_table(
        "restorations",
        _text("federation"),
        _long("number"),
        _long("at"),
        sa.Column("why", sa.Text(), nullable=False),
        _long("version"),
        _long("window"),
        _long("closed_at", nullable=True),
        _long("resumed_at", nullable=True),
        sa.Column("because", sa.Text(), nullable=True),
        _long("base_version", nullable=True),
        sa.PrimaryKeyConstraint("federation", "number"),
    )
    op.create_table(
        "surcharges",
        _text("federation"),
        _text("device"),
        _long("restoration"),
        _long("loss"),
        sa.PrimaryKeyConstraint("federation", "device", "restoration"),
    )
