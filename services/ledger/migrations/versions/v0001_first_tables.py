"""The first tables, as they were released: this file stays, whatever `tables.py` says later."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

LONG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make them."""
    _who()
    _what()
    _losses()
    _outputs()
    _records()


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.String(200), nullable=False)


def _long(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, LONG, nullable=nullable)


def _bytes(name: str, *, nullable: bool = False) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary, nullable=nullable)


def _who() -> None:
    op.create_table(
        "federations",
        _text("federation"),
        _text("ledger"),
        _long("epoch"),
        _bytes("plan_digest"),
        _bytes("plan"),
        _bytes("model_digest"),
        _long("created_at"),
        sa.Column("halted", sa.String(16), nullable=True),
        sa.Column("halted_why", sa.Text(), nullable=True),
        _long("halted_at", nullable=True),
        sa.PrimaryKeyConstraint("federation"),
    )
    op.create_table(
        "server_keys",
        _text("federation"),
        _text("role"),
        _bytes("public_key"),
        sa.PrimaryKeyConstraint("federation", "role"),
    )
    op.create_table(
        "tokens",
        _text("federation"),
        _text("device"),
        _bytes("secret"),
        _long("expires_at"),
        _long("used_at", nullable=True),
        sa.PrimaryKeyConstraint("federation", "device"),
    )
    op.create_table(
        "devices",
        _text("federation"),
        _text("device"),
        _bytes("public_key"),
        _long("enrolled_at"),
        _bytes("identity"),
        sa.PrimaryKeyConstraint("federation", "device"),
    )
    op.create_table(
        "leases",
        _text("name"),
        _long("epoch"),
        _text("holder"),
        _long("issued_at"),
        sa.PrimaryKeyConstraint("name"),
    )


def _what() -> None:
    op.create_table(
        "windows",
        _text("federation"),
        _long("number"),
        _text("state"),
        _bytes("body"),
        _long("base_version"),
        _long("opened_at"),
        _long("deadline"),
        _long("ended_at", nullable=True),
        _long("version", nullable=True),
        sa.PrimaryKeyConstraint("federation", "number"),
    )
    op.create_table(
        "updates",
        _bytes("id"),
        _text("federation"),
        _text("device"),
        _long("named_window"),
        _long("window", nullable=True),
        _long("staleness"),
        _long("weight"),
        _bytes("sealed"),
        _text("decided_by"),
        _long("admitted_at"),
        _text("outcome"),
        sa.Column("reason", sa.String(64), nullable=True),
        _long("version", nullable=True),
        _bytes("receipt", nullable=True),
        _long("ended_at", nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("updates_by_device", "updates", ["federation", "device", "window"])
    op.create_index("updates_by_name", "updates", ["federation", "named_window", "device"])
    op.create_index("updates_by_window", "updates", ["federation", "window", "outcome"])


def _losses() -> None:
    op.create_table(
        "budgets",
        _text("device"),
        _long("settled"),
        _long("reserved"),
        sa.PrimaryKeyConstraint("device"),
    )
    op.create_table(
        "charges",
        _bytes("update"),
        _text("federation"),
        _text("device"),
        _long("window"),
        _long("loss"),
        _text("state"),
        _long("version", nullable=True),
        sa.PrimaryKeyConstraint("update"),
    )


def _outputs() -> None:
    op.create_table(
        "blobs",
        _bytes("digest"),
        _bytes("body"),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_table(
        "releases",
        _text("federation"),
        _long("version"),
        _long("window"),
        _bytes("manifest"),
        _bytes("manifest_digest"),
        _bytes("base_digest"),
        _bytes("model_digest"),
        _long("model_size"),
        _bytes("total_digest"),
        _bytes("optimizer_digest", nullable=True),
        _long("optimizer_size"),
        _bytes("noise_key"),
        _long("sigma"),
        _long("members"),
        _long("arrived"),
        _long("released_at"),
        sa.ForeignKeyConstraint(["federation", "window"], ["windows.federation", "windows.number"]),
        sa.PrimaryKeyConstraint("federation", "version"),
    )


def _records() -> None:
    op.create_table(
        "deliveries",
        _text("federation"),
        _text("kind"),
        _long("count"),
        sa.PrimaryKeyConstraint("federation", "kind"),
    )
    op.create_table(
        "positions",
        _text("federation"),
        _text("stream"),
        _text("entry"),
        sa.PrimaryKeyConstraint("federation", "stream"),
    )
    op.create_table(
        "audit",
        _long("seq"),
        _text("federation"),
        _long("at"),
        _text("actor"),
        _text("action"),
        _text("subject"),
        sa.Column("body", sa.Text(), nullable=False),
        _bytes("previous"),
        _bytes("hash"),
        sa.PrimaryKeyConstraint("seq"),
    )
