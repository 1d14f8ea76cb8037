"""The first start of a deployment: its federation is founded and its passwords are made; each later start finds them.

    SECRETS/broker/passwords         who may connect to the broker: names, salts, derived keys
    SECRETS/broker/health.password   for the broker's health check
    SECRETS/redis/users.acl          who may connect to Redis: names, SHA-256 of passwords, what each may do
    SECRETS/redis/health.password    for Redis's health check
    SECRETS/services/redis.password  of the user `mizzle` in Redis
    SECRETS/doctor/redis.password    of the user `doctor` in Redis, who may look at what is there and change nothing
    SECRETS/gateway/broker.password  of the users `gateway` and `gateway-delivery` at the broker
    SECRETS/reader/broker.password   of the user `reader` at the broker: an integrator's
    SECRETS/keys/ROLE/ROLE.key       a copy of the private key of this role, for the one service that signs with it

Each folder goes to those who need it, and to nobody else. A password is 256 random bits, made once and never replaced;
to change one, delete its file and start again. A start that is cut off leaves nothing that the next one cannot go on
from.
"""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import inspect

from mizzle.errors import Misconfigured
from mizzle.transport.passwords import read
from services.ledger import federations
from services.ledger.accounts import admit
from services.ledger.engine import answering, connect, reading
from services.ledger.founding import Founded, found, open_founded, planned, without_end
from services.ledger.keys import ROLES, adopt, copy
from services.ledger.ledger import refuse_other_tables
from services.ledger.private import write_private

if TYPE_CHECKING:
    from collections.abc import Mapping

_REDIS_USERS: Final = """\
user default off
user mizzle on #{mizzle} ~mz:* resetchannels -@all {commands}
user doctor on #{doctor} %R~mz:* resetchannels -@all {looks}
user health on #{health} resetkeys resetchannels -@all +ping
"""


_REDIS_COMMANDS: Final = (
    "+@read +@write +@stream +@connection -@dangerous -@scripting +eval +evalsha +eval_ro +script|load"
)
_REDIS_LOOKS: Final = "+@read +@connection -@dangerous +eval_ro +info"


def start(ledger: str, plan: Path, keys: Path, passwords: Path, *, endless: bool = False) -> Founded:
    """The federation of `plan` in `ledger`, founded if it was not; `passwords` holds what everybody logs in with.

    An `endless` one goes on after the windows that the plan names.

    Raises:
        Misconfigured: the plan cannot work, a file cannot be written, or the ledger is gone while its keys are there.
    """
    _make_passwords(passwords)
    wanted, model = planned(plan)
    wanted = without_end(wanted) if endless else wanted
    if _is_founded(ledger, wanted.federation):
        founded = open_founded(ledger, wanted.federation)
        adopt(keys, founded.public_keys)
    else:
        founded = found(ledger, wanted, model, keys)
    for role in ROLES:
        copy(keys, role, passwords / "keys" / role)
    return founded


def _make_passwords(folder: Path) -> None:
    gateway, reader = _password(folder / "gateway/broker.password"), _password(folder / "reader/broker.password")
    health = _password(folder / "broker/health.password")
    accounts = {"gateway": gateway, "gateway-delivery": gateway, "reader": reader, "health": health}
    admit(folder / "broker/passwords", accounts)
    files = {"mizzle": "services/redis", "doctor": "doctor/redis", "health": "redis/health"}
    write_private(
        folder / "redis/users.acl",
        _redis_users({user: _password(folder / f"{file}.password") for user, file in files.items()}),
    )


def _redis_users(passwords: Mapping[str, str]) -> str:
    digests = {user: _sha256(password) for user, password in passwords.items()}
    return _REDIS_USERS.format(**digests, commands=_REDIS_COMMANDS, looks=_REDIS_LOOKS)


def _password(path: Path) -> str:
    """The password in the file `path`, made if there is none."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            write_private(path, f"{secrets.token_hex(32)}\n")
    except OSError as error:
        raise Misconfigured(f"{path} is to hold a password and cannot be written: {error}") from error
    return read(path, str(path.name))


def _is_founded(ledger: str, federation: str) -> bool:
    engine = connect(ledger, new=True)
    file = Path(engine.url.database or "")
    if not file.is_file():
        return False
    with answering(engine):
        is_empty = not inspect(engine).get_table_names()
    if is_empty:
        return False
    refuse_other_tables(engine)
    with reading(engine) as tx:
        return federation in federations.names(tx)


def _sha256(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()
