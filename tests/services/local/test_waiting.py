import socket

import pytest

from mizzle.errors import Away, Misconfigured
from services.local.processes import Processes
from services.local.waiting import LOOPBACK, free_port, wait_for_port


def test_a_free_port_can_be_had_and_is_none_that_outgoing_connections_take() -> None:
    with socket.socket() as server:
        server.bind((LOOPBACK, free_port()))
        server.listen()
        assert server.getsockname()[1] < 32_768


def test_a_server_that_does_not_listen_in_time_is_away(children: Processes) -> None:
    with pytest.raises(Away, match=r"dozer was to listen on port \d+ within 0.05 s"):
        wait_for_port(free_port(), children.start("dozer", ["sleep", "600"]), timeout_s=0.05)


def test_a_server_that_dies_before_it_listens_says_why_at_once(children: Processes) -> None:
    child = children.start("pump", ["sh", "-c", "echo no such valve; exit 3"])
    with pytest.raises(Misconfigured, match=r"ended with 3(.|\n)*no such valve"):
        wait_for_port(free_port(), child, timeout_s=600)
