"""What a doctor of services is told by its environment: as a service, except that it need not see everything."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from services.runtime.settings import PAYLOAD_BYTES, Places


class Sight(Places):
    """Where to look; what is not set is not looked at, because it is not to be seen from here."""

    broker: str = Field("", description="the broker; whose rights to take it may name, else the gateway's")
    broker_password_file: Path | None = Field(None, description="a file that holds that user's password")
    keys: Path | None = Field(None, description="the folder of the federation's private keys, one file per role")
    payloads: Path | None = Field(None, description="the folder of the payload store")
    payload_bytes: int = Field(PAYLOAD_BYTES, ge=2**20, description="how many bytes the payload store may hold")
    run_by: Literal["hand", "compose"] = Field("hand", description="hand or compose: what the next commands are for")
