"""Bring a ledger's tables to this program's version, by the migrations in `migrations/versions/`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config

from services.ledger.engine import writing

if TYPE_CHECKING:
    from sqlalchemy import Engine


def migrate(engine: Engine) -> None:
    """Run every migration that this ledger has not had, all or none of them; a new file gets all."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
