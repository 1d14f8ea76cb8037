"""What a service is told by its environment: names that begin with `MIZZLE_`, and `REDIS_URL`."""

from __future__ import annotations

from pathlib import Path
from typing import Final, TypeVar

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from mizzle.errors import Misconfigured
from services.ledger.past import RETENTION_DAYS

P = TypeVar("P", bound="Places")

PAYLOAD_BYTES: Final = 4 * 2**30


class Places(BaseSettings):
    """Where a federation's ledger and Redis are: what everybody needs to know who serves it or looks at it."""

    model_config = SettingsConfigDict(env_prefix="MIZZLE_", extra="ignore", populate_by_name=True)

    federation: str = Field(description="the federation this process serves")
    ledger: str = Field(description="the ledger's SQLAlchemy URL: sqlite:////path/to/ledger.db")
    redis_url: str = Field(validation_alias="REDIS_URL", description="redis://host:port/db")
    redis_password_file: Path | None = Field(None, description="a file that holds the password of REDIS_URL's user")


class Settings(Places):
    """What a service is told beside that, and how much it may hold at once."""

    broker: str = Field("mqtt://127.0.0.1:1883", description="the broker, for the gateway")
    broker_password_file: Path | None = Field(None, description="a file that holds the gateway's password there")
    keys: Path = Field(description="the folder of the federation's private keys, one file per role")
    payloads: Path = Field(description="the folder of the payload store")
    payload_bytes: int = Field(PAYLOAD_BYTES, ge=2**20, description="how many bytes the payload store may hold")
    keep_payloads: bool = Field(default=False, description="keep the payloads of ended updates for an auditor")
    auditor_key: str = Field("", pattern=r"^([0-9a-f]{64})?$", description="X25519 key that noise keys are sealed for")
    batch: int = Field(128, ge=1, le=1000, description="how many entries a service takes at once")
    keep_releases: int = Field(16, ge=1, le=1000, description="how many releases stay fetchable at the broker")
    retention_days: int = Field(
        RETENTION_DAYS, ge=14, description="how long what is known of an update that has ended is kept, in days"
    )
    metrics: str = Field("", pattern=r"^(\S+:\d{1,5})?$", description="HOST:PORT of /metrics; empty for none")
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")


def from_environment() -> Settings:
    """The settings of this service.

    Raises:
        Misconfigured: as `told`.
    """
    return told(Settings)


def told(kind: type[P]) -> P:
    """What the environment says of these settings.

    Raises:
        Misconfigured: one is missing or out of bounds; the text names the variable and what was wanted.
    """
    try:
        return kind()  # type: ignore[call-arg]  # the environment gives the arguments
    except ValidationError as error:
        wrong = error.errors()[0]
        name = str(wrong["loc"][0])
        variable = name if name.isupper() else f"MIZZLE_{name.upper()}"
        wanted = kind.model_fields.get(name.lower())
        what = wanted.description if wanted else "another value"
        raise Misconfigured(f"{variable} is wrong: {wrong['msg']}; wanted {what}. Set it and start again.") from error
