import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
import redis

from services.local.faults import FaultProxy, Mode, Traffic
from services.local.waiting import LOOPBACK
from services.local.wire import Weather

PATIENCE_S = 5.0


@pytest.fixture
def proxy(redis_url: str) -> Iterator[FaultProxy]:
    with FaultProxy(port_of(redis_url)) as standing:
        yield standing


def test_bytes_are_passed_on_and_counted(proxy: FaultProxy) -> None:
    with client_of(proxy) as client:
        client.sendall(b"PING\r\n")
        assert client.recv(100) == b"+PONG\r\n"
    assert proxy.wait_until(lambda traffic: traffic.connections == 0) == Traffic(0, 6, 6, 7)


def test_large_answers_and_requests_pass_whole(proxy: FaultProxy) -> None:
    with redis.Redis(port=proxy.port) as client:
        client.set("blob", b"b" * 3_000_000)
        assert client.get("blob") == b"b" * 3_000_000


def test_what_is_held_is_kept_while_the_server_is_still_heard(proxy: FaultProxy, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as direct, client_of(proxy) as client:
        client.sendall(b"SUBSCRIBE news\r\n")
        assert b"subscribe" in client.recv(1000)
        proxy.switch(Mode.HOLD)
        client.sendall(b"UNSUBSCRIBE news\r\n")
        proxy.wait_until(lambda traffic: traffic.from_clients == 34)
        assert direct.publish("news", "still heard") == 1
        assert b"still heard" in client.recv(1000)
        assert proxy.traffic.to_server == 16
        proxy.switch(Mode.PASS_ON)
        assert b"unsubscribe" in client.recv(1000)


def test_what_was_held_is_sent_in_order_even_for_a_client_that_left(proxy: FaultProxy, redis_url: str) -> None:
    proxy.switch(Mode.HOLD)
    with client_of(proxy) as client:
        for count in range(100):
            client.sendall(b"RPUSH line %d\r\n" % count)
    sent = sum(len(b"RPUSH line %d\r\n" % count) for count in range(100))
    proxy.wait_until(lambda traffic: traffic.from_clients == sent)
    proxy.switch(Mode.PASS_ON)
    proxy.wait_until(lambda traffic: traffic.connections == 0)
    with redis.Redis.from_url(redis_url) as direct:
        assert direct.lrange("line", 0, -1) == [b"%d" % count for count in range(100)]


def test_the_server_does_not_notice_that_a_held_client_left(proxy: FaultProxy) -> None:
    with client_of(proxy) as client:
        client.sendall(b"PING\r\n")
        client.recv(100)
        proxy.switch(Mode.HOLD)
    with pytest.raises(TimeoutError, match="connections=1"):
        proxy.wait_until(lambda traffic: traffic.connections == 0, timeout_s=0.1)
    proxy.switch(Mode.PASS_ON)
    proxy.wait_until(lambda traffic: traffic.connections == 0)


def test_a_cut_loses_what_was_held_and_refuses_until_the_network_is_back(proxy: FaultProxy, redis_url: str) -> None:
    proxy.switch(Mode.HOLD)
    with client_of(proxy) as client:
        client.sendall(b"SET trained yes\r\n")
        proxy.wait_until(lambda traffic: traffic.from_clients == 17)
        proxy.switch(Mode.CUT)
        with pytest.raises(ConnectionResetError):
            client.recv(100)
    with pytest.raises(ConnectionRefusedError), client_of(proxy):
        pass
    assert proxy.traffic == Traffic(0, 17, 0, 0)
    proxy.switch(Mode.PASS_ON)
    with redis.Redis(port=proxy.port) as again, redis.Redis.from_url(redis_url) as direct:
        assert again.ping()
        assert direct.exists("trained") == 0


def test_a_cut_can_say_goodbye(proxy: FaultProxy) -> None:
    with client_of(proxy) as client:
        proxy.wait_until(lambda traffic: traffic.connections == 1)
        proxy.switch(Mode.CUT, reset=False)
        assert client.recv(100) == b""


def test_a_delay_holds_for_each_way(proxy: FaultProxy) -> None:
    with client_of(proxy) as client:
        proxy.delay(0.1)
        began = time.monotonic()
        client.sendall(b"PING\r\n")
        assert client.recv(100) == b"+PONG\r\n"
        assert 0.2 <= time.monotonic() - began < PATIENCE_S


def test_a_delay_is_no_limit_to_the_rate(proxy: FaultProxy) -> None:
    """A hundred messages that were sent at once arrive at once, as on a long line."""
    proxy.delay(0.1)
    with client_of(proxy) as client:
        began = time.monotonic()
        for _ in range(100):
            client.sendall(b"PING\r\n")
            time.sleep(0)
        answers = b""
        while len(answers) < 700:
            answers += client.recv(1000)
        assert time.monotonic() - began < PATIENCE_S


def test_where_no_server_listens_the_connection_ends() -> None:
    with socket.socket() as nobody:
        nobody.bind((LOOPBACK, 0))
        with FaultProxy(nobody.getsockname()[1]) as proxy, client_of(proxy) as client:
            assert client.recv(100) == b""


def test_what_does_not_come_is_awaited_for_a_bounded_time(proxy: FaultProxy) -> None:
    with pytest.raises(TimeoutError, match="connections=0"):
        proxy.wait_until(lambda traffic: traffic.connections == 1, timeout_s=0.01)


def test_leaving_closes_the_port(redis_url: str) -> None:
    with FaultProxy(port_of(redis_url)) as proxy, client_of(proxy) as client:
        client.sendall(b"PING\r\n")
        client.recv(100)
    with pytest.raises(ConnectionRefusedError), client_of(proxy):
        pass


@contextmanager
def client_of(proxy: FaultProxy) -> Iterator[socket.socket]:
    with socket.create_connection((LOOPBACK, proxy.port), timeout=PATIENCE_S) as client:
        yield client


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2].removesuffix("/0"))


def test_a_delay_may_be_of_one_way_only(proxy: FaultProxy) -> None:
    with client_of(proxy) as client:
        proxy.befall(Weather(down_s=3_600))
        client.sendall(b"PING\r\n")
        assert proxy.wait_until(lambda traffic: traffic.to_server == 6).to_clients == 0
        proxy.befall(Weather(up_s=3_600))
        client.sendall(b"PING\r\n")
        assert proxy.wait_until(lambda traffic: traffic.from_clients == 12).to_server == 6


def test_a_client_that_is_not_answered_is_heard(proxy: FaultProxy, redis_url: str) -> None:
    with client_of(proxy) as client, redis.Redis.from_url(redis_url) as direct:
        proxy.switch(Mode.HOLD_ANSWERS)
        client.sendall(b"SET trained yes\r\n")
        proxy.wait_until(lambda traffic: traffic.to_server == 17)
        until(lambda: direct.get("trained") == b"yes")
        assert proxy.traffic.to_clients == 0
        proxy.switch(Mode.PASS_ON)
        assert client.recv(100) == b"+OK\r\n"


def test_a_connection_overtakes_another(proxy: FaultProxy, redis_url: str) -> None:
    """What was said first over the second connection comes after what was said next over the fourth."""
    clients = [client_of(proxy) for _ in range(4)]
    with ExitStack() as after, redis.Redis.from_url(redis_url) as direct:
        sockets = []
        for count, client in enumerate(clients, start=1):
            sockets.append(after.enter_context(client))
            proxy.wait_until(lambda traffic, count=count: traffic.connections == count)  # type: ignore[misc]
        proxy.befall(Weather(spread_s=0.6))
        for name in (1, 3):
            sockets[name].sendall(b"RPUSH line %d\r\n" % name)
        until(lambda: direct.llen("line") == 2)
        assert direct.lrange("line", 0, -1) == [b"3", b"1"]


def test_a_line_is_cut_in_the_middle_of_what_is_said(proxy: FaultProxy, redis_url: str) -> None:
    with client_of(proxy) as client, redis.Redis.from_url(redis_url) as direct:
        proxy.befall(Weather(cut_after=20))
        client.sendall(b"SET first yes\r\nSET second yes\r\n")
        assert is_reset(client)
        proxy.wait_until(lambda traffic: traffic.connections == 0)
        assert proxy.traffic.to_server == 20
        assert (direct.get("first"), direct.get("second")) == (b"yes", None)
    proxy.befall(Weather())
    with client_of(proxy) as again:
        again.sendall(b"PING\r\n" * 10)
        assert again.recv(100).startswith(b"+PONG\r\n")


def test_an_answer_that_is_lost_is_not_followed_by_another(proxy: FaultProxy, redis_url: str) -> None:
    """The command was obeyed and nobody heard so: the connection ends, for nothing can follow a hole."""
    with client_of(proxy) as client, redis.Redis.from_url(redis_url) as direct:
        proxy.befall(Weather(loses_answers=True))
        client.sendall(b"SET trained yes\r\n")
        until(lambda: direct.get("trained") == b"yes")
        proxy.befall(Weather())
        with pytest.raises(ConnectionResetError):
            client.recv(100)
        assert proxy.traffic.to_clients == 0


def is_reset(client: socket.socket) -> bool:
    """Whether the connection ends by a reset, whatever is heard before it."""
    try:
        while client.recv(100):
            pass
    except ConnectionResetError:
        return True
    return False


def until(is_so: Callable[[], bool]) -> None:
    """Ask Redis until it is so, which is at once or soon."""
    end = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < end
