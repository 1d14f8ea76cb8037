"""Ports: one that is free, and the moment at which somebody answers there."""

import secrets
import socket
import time

from mizzle.errors import Away, Misconfigured
from services.local.child import Child, wait_for_any

LOOPBACK = "127.0.0.1"
# Linux lends ports from 32768 on to outgoing connections; one of those may be gone, or connect to itself, before
# its server is up or while it is being restarted.
_PORTS = range(10_000, 32_768)


def free_port() -> int:
    """A loopback port on which nobody listens, outside the range that outgoing connections take theirs from."""
    while True:
        port = secrets.choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port


def wait_for_port(port: int, child: Child, timeout_s: float = 30.0) -> None:
    """Return once `child` accepts connections on `port` of the loopback interface.

    Raises:
        Misconfigured: the child has ended; the text holds the end of its log.
        Away: it runs, but did not listen within `timeout_s`.
    """
    until = time.monotonic() + timeout_s
    while not _listens(port):
        if (code := child.returncode) is not None:
            raise Misconfigured(
                f"{child.name} was to listen on port {port} and ended with {code}; its log says:\n{child.last_words}"
            )
        if time.monotonic() > until:
            raise Away(f"{child.name} was to listen on port {port} within {timeout_s} s and does not; see {child.log}")
        wait_for_any([child], 0.01)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0
