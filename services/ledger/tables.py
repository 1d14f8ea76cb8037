"""The ledger's tables. Independent checkers read them: a column's meaning is a promise; they change by migration only.

Instants are milliseconds since 1970-01-01 UTC; losses are μ² in units of 2^-32, rounded up; ids and digests are 32
bytes.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

REVISION: Final = "0002"
"""The migration that makes these tables of the ones before it."""

METADATA: Final = MetaData()

_Long = BigInteger().with_variant(Integer, "sqlite")


def _text(name: str, **more: bool) -> Column[str]:
    return Column(name, String(200), nullable=False, **more)  # type: ignore[arg-type]  # SQLAlchemy's overloads


def _number(name: str, **more: bool) -> Column[int]:
    return Column(name, _Long, **{"nullable": False, **more})  # type: ignore[arg-type]  # as above


def _bytes(name: str, **more: bool) -> Column[bytes]:
    return Column(name, LargeBinary, **{"nullable": False, **more})  # type: ignore[arg-type]  # as above


FEDERATIONS: Final = Table(
    "federations",
    METADATA,
    _text("federation", primary_key=True),
    _text("ledger"),  # a random name: Redis keys of another ledger never meet ours
    _number("epoch"),  # the parameter epoch
    _bytes("plan_digest"),
    _bytes("plan"),  # canonical JSON
    _bytes("model_digest"),  # version 0
    _number("created_at"),
    Column("halted", String(16)),  # budget | complete; no window opens after it
    Column("halted_why", Text),
    _number("halted_at", nullable=True),
)

SERVER_KEYS: Final = Table(
    "server_keys",
    METADATA,
    _text("federation", primary_key=True),
    _text("role", primary_key=True),  # receipt | invitation | release
    _bytes("public_key"),
)

TOKENS: Final = Table(
    "tokens",
    METADATA,
    _text("federation", primary_key=True),
    _text("device", primary_key=True),
    _bytes("secret"),  # SHA-256 of the token's secret: the key of the proof
    _number("expires_at"),
    _number("used_at", nullable=True),
)

DEVICES: Final = Table(
    "devices",
    METADATA,
    _text("federation", primary_key=True),
    _text("device", primary_key=True),
    _bytes("public_key"),
    _number("enrolled_at"),
    _bytes("identity"),  # the sealed answer, sent again as it is
)

WINDOWS: Final = Table(
    "windows",
    METADATA,
    _text("federation", primary_key=True),
    _number("number", primary_key=True),
    _text("state"),  # open | released | abandoned
    _bytes("body"),  # the Window message, msgpack
    _number("base_version"),
    _number("opened_at"),
    _number("deadline"),
    _number("ended_at", nullable=True),
    _number("version", nullable=True),  # the release made of it
)

UPDATES: Final = Table(
    "updates",
    METADATA,
    _bytes("id", primary_key=True),
    _text("federation"),
    _text("device"),
    _number("named_window"),  # the window in the signed header
    _number("window", nullable=True),  # it is bound to, or, refused, is the zero update of; none while it waits
    _number("staleness"),  # windows from the named one to the bound one; buffered, versions between their bases
    _number("weight"),
    _bytes("sealed"),  # the signed header, as it came
    _text("decided_by"),
    _number("admitted_at"),
    _text("outcome"),  # open | counted | refused | abandoned
    Column("reason", String(64)),
    _number("version", nullable=True),  # counted in this release
    _bytes("receipt", nullable=True),  # the sealed receipt, the very bytes that the device is sent
    _number("ended_at", nullable=True),
    Index("updates_by_window", "federation", "window", "outcome"),
    Index("updates_by_name", "federation", "named_window", "device"),
    Index("updates_by_device", "federation", "device", "window"),
    Index("updates_by_end", "federation", "ended_at"),
)

PAST_UPDATES: Final = Table(
    "past_updates",  # how many updates ended how, whose rows were cleaned up; the sums of I2 go on with them
    METADATA,
    _text("federation", primary_key=True),
    _number("named_window", primary_key=True),
    _text("outcome", primary_key=True),  # counted | refused | abandoned
    _text("reason", primary_key=True),  # empty where there is none
    _number("version", primary_key=True),  # counted in this release; 0 in none
    _number("count"),
)

PAST_DEVICES: Final = Table(
    "past_devices",  # which of a device's updates those were: by the counter in the signed header, as past.py says
    METADATA,
    _text("federation", primary_key=True),
    _text("device", primary_key=True),
    _number("named_window"),  # the newest that one of them names
    _number("mark"),  # the highest counter of one of them
    _bytes("ended"),  # bit k, from the right: mark - k is the counter of one of them
    _number("settled"),  # the sum of the settled charges that were cleaned up with them
)

BUDGETS: Final = Table(
    "budgets",
    METADATA,
    _text("device", primary_key=True),  # over all its federations
    _number("settled"),
    _number("reserved"),
)

CHARGES: Final = Table(
    "charges",
    METADATA,
    _bytes("update", primary_key=True),
    _text("federation"),
    _text("device"),
    _number("window"),
    _number("loss"),
    _text("state"),  # reserved | settled | void
    _number("version", nullable=True),
)

RESTORATIONS: Final = Table(
    "restorations",  # each time that an older ledger took the place of a newer one
    METADATA,
    _text("federation", primary_key=True),
    _number("number", primary_key=True),
    _number("at"),
    Column("why", Text, nullable=False),
    _number("version"),  # the newest release that the world is known to have seen
    _number("window"),  # the newest window, likewise
    _number("closed_at", nullable=True),  # when all that was open in it had been ended
    _number("resumed_at", nullable=True),  # when a person let it go on; nothing is released and no window opens before
    Column("because", Text),
    _number("base_version", nullable=True),  # the number under which its newest model goes on
)

SURCHARGES: Final = Table(
    "surcharges",  # what devices may have lost in releases that a restored ledger does not know; settled
    METADATA,
    _text("federation", primary_key=True),
    _text("device", primary_key=True),
    _number("restoration", primary_key=True),
    _number("loss"),
)

BLOBS: Final = Table("blobs", METADATA, _bytes("digest", primary_key=True), _bytes("body"))

RELEASES: Final = Table(
    "releases",
    METADATA,
    _text("federation", primary_key=True),
    _number("version", primary_key=True),
    _number("window"),
    _bytes("manifest"),  # the DSSE envelope, as published
    _bytes("manifest_digest"),
    _bytes("base_digest"),  # the model it was made from
    _bytes("model_digest"),
    _number("model_size"),
    _bytes("total_digest"),  # the noised integer sum, int64 little-endian
    _bytes("optimizer_digest", nullable=True),
    _number("optimizer_size"),
    _bytes("noise_key"),  # sealed for the auditor; empty where none is named
    _number("sigma"),  # of the noise on the weighted integer sum
    _number("members"),
    _number("arrived"),
    _number("released_at"),
    ForeignKeyConstraint(["federation", "window"], ["windows.federation", "windows.number"]),
)

DELIVERIES: Final = Table(
    "deliveries",
    METADATA,
    _text("federation", primary_key=True),
    _text("kind", primary_key=True),  # deliveries = first + duplicate + unauthenticated
    _number("count"),
)

POSITIONS: Final = Table(
    "positions",
    METADATA,
    _text("federation", primary_key=True),
    _text("stream", primary_key=True),
    _text("entry"),  # deliveries up to here are counted
)

AUDIT: Final = Table(
    "audit",
    METADATA,
    _number("seq", primary_key=True),
    _text("federation"),
    _number("at"),
    _text("actor"),
    _text("action"),
    _text("subject"),
    Column("body", Text, nullable=False),  # JSON, keys sorted
    _bytes("previous"),
    _bytes("hash"),  # of this row and `previous`; how is said in audit.py
)

LEASES: Final = Table(
    "leases",
    METADATA,
    _text("name", primary_key=True),  # federation/service
    _number("epoch"),
    _text("holder"),
    _number("issued_at"),
)
