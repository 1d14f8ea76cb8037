"""The commands that a doctor says next, in the words of whoever runs the services."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Remedies:
    """What to type for each thing that may be wrong; `{}` stands for the path or the service that it is about."""

    create: str
    migrate: str
    federation: str
    damaged: str
    where: str
    verify: str
    room: str
    key: str
    passwords: str
    redis: str
    redis_login: str
    redis_version: str
    redis_policy: str
    redis_disk: str
    redis_memory: str
    service: str
    slow: str

    def again(self, service: str) -> str:
        """Have the service, or server, start again, and see why if it does not."""
        return self.service.format(service)


_REDIS: Final = 'redis-cli -u "$REDIS_URL"'
"""As the environment has it: a password in the address is not for a terminal."""

_HAND: Final = Remedies(
    create="python -m services.ledger create --plan plan.toml",
    migrate="python -m services.ledger migrate",
    federation="env | grep MIZZLE_FEDERATION",
    damaged="mv {0} {0}.damaged",
    where="env | grep MIZZLE_LEDGER",
    verify="python -m services.ledger verify",
    room="df -h {}",
    key="cp -p COPY/{0}.key {1}",
    passwords="env | grep MIZZLE_BROKER_PASSWORD_FILE",
    redis=f"{_REDIS} ping",
    redis_login=f"{_REDIS} ping",
    redis_version=f"{_REDIS} info server",
    redis_policy=f"{_REDIS} config set maxmemory-policy noeviction",
    redis_disk=f"{_REDIS} config get dir",
    redis_memory=f"{_REDIS} info memory",
    # It takes the place by a newer epoch; one that was only stopped ends by itself when it wakes.
    service="python -m services.{}",
    slow="python -m services.{} health",
)

_AGAIN: Final = "docker compose up -d {0} && docker compose restart {0} && docker compose logs --since 1m {0}"
_REDIS_ANEW: Final = "docker compose up -d --force-recreate redis"

_COMPOSE: Final = Remedies(
    create="docker compose run --rm setup",
    migrate="docker compose down && docker compose run --rm --no-deps operator migrate && docker compose up -d",
    federation="grep MIZZLE_ .env",
    damaged="docker compose down",
    where="docker compose config operator",
    verify="docker compose run --rm operator verify",
    room="docker compose run --rm --entrypoint df operator -h {}",
    key="docker compose run --rm setup",
    passwords="docker compose run --rm setup && docker compose kill -s HUP broker",
    redis=_AGAIN.format("redis"),
    redis_login="docker compose run --rm setup && docker compose restart redis",
    redis_version=_REDIS_ANEW,
    redis_policy=_REDIS_ANEW,
    redis_disk="docker compose exec redis df -h /var/lib/mizzle/redis",
    redis_memory="docker compose logs --since 5m privacy-accountant aggregator",
    service=_AGAIN,
    slow="docker compose logs --tail 20 {}",
)

REMEDIES: Final[Mapping[Literal["hand", "compose"], Remedies]] = MappingProxyType({"hand": _HAND, "compose": _COMPOSE})
