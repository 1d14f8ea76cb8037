"""docker-compose.yml without containers: its commands, environments and files, as processes of this machine.

Each container has a root of its own in a temporary folder: its volumes are links there, the files that it mounts are
copies. Paths below /etc/mizzle and /var/lib/mizzle lead into that root, HOST:PORT of a service on one of its networks
to a free loopback port, and `$$` becomes the `$` that the engine makes of it. What a service does not mount, or cannot
reach, is not there, and it fails as it would in its container.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from services.local.child import Child, wait_for_any
from services.local.processes import Processes
from services.local.waiting import LOOPBACK, free_port
from services.pipeline import FLOW

TREE: Final = Path(__file__).parents[2]
SEARCHED: Final = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin"))
"""Where commands are found: `python` is the one that runs the tests, and Debian keeps mosquitto in /usr/sbin."""

METRICS: Final = 9100
"""Where each service shows its figures."""

_PLACES: Final = re.compile(r"/(etc|var/lib)/mizzle(?![\w-])")

# What a server's configuration says of addresses is right in a container of its own, and not on a shared machine.
_IN_FILES: Final = (
    (re.compile(r"^listener (\d+)$", re.MULTILINE), "listener {port} 127.0.0.1\nsocket_domain ipv4\nuser {user}"),
    (re.compile(r"^port (\d+)$", re.MULTILINE), "port {port}"),
    (re.compile(r"^bind .*$", re.MULTILINE), "bind 127.0.0.1"),
)


def config(*arguments: str, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The file as docker-compose itself reads it, every service of every profile."""
    command = ["docker-compose", "--profile", "*", "config", "--format", "json", *arguments]
    done = subprocess.run(
        command,
        cwd=TREE,
        env={"HOME": "/", "PATH": SEARCHED, **(environment or {})},
        capture_output=True,
        text=True,
        check=True,
    )
    read: dict[str, Any] = json.loads(done.stdout)
    return read


@dataclass(frozen=True)
class Sight:
    """What one service sees: the root of its container; (host, port) of servers and which port of ours that is."""

    root: Path
    ports: Mapping[tuple[str, int], int]

    def translated(self, text: str) -> str:
        """The text with this service's paths, hosts and ports as they are here."""
        text = _PLACES.sub(rf"{self.root}\g<0>", text.replace("$$", "$"))
        for (host, port), here in self.ports.items():
            text = re.sub(rf"(?<![\w-]){host}:{port}(?!\d)", f"{LOOPBACK}:{here}", text)
            text = re.sub(rf"-h {host} -p {port}(?!\d)", f"-h {LOOPBACK} -p {here}", text)
        return text

    def translated_file(self, text: str, host: str) -> str:
        """A configuration file of the server `host`, likewise; it listens on the loopback interface alone."""
        user = "root" if os.geteuid() == 0 else "nobody"  # as somebody else it would outlive its parent
        for pattern, wanted in _IN_FILES:
            text = pattern.sub(partial(self._said, wanted, host, user), text)
        return self.translated(text)

    def _said(self, wanted: str, host: str, user: str, found: re.Match[str]) -> str:
        port = self.ports[host, int(found[1])] if found.groups() else 0
        return wanted.format(port=port, user=user)


@dataclass(frozen=True)
class Composed:
    """A project that can be started here: `services` as docker-compose reads them, everything else in `folder`."""

    folder: Path
    services: Mapping[str, Any]
    processes: Processes
    ports: Mapping[tuple[str, int], int] = field(default_factory=dict)

    def command(self, name: str, *arguments: str) -> list[str]:
        """What runs in the service's container; `arguments` take the place of its own, as with `docker compose run`."""
        said = [*(self.services[name]["entrypoint"] or ()), *(arguments or self.services[name]["command"])]
        return self._found([self.sight(name).translated(word) for word in said])

    def environment(self, name: str) -> dict[str, str]:
        """The environment of the service's container."""
        sight, given = self.sight(name), self.services[name].get("environment", {})
        return {"PATH": SEARCHED, **{key: sight.translated(value) for key, value in given.items()}}

    def root(self, name: str) -> Path:
        """The root of the service's container."""
        return self.folder / "roots" / name

    def volume(self, name: str) -> Path:
        """Where the volume of this name is."""
        path = self.folder / "volumes" / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def sight(self, name: str) -> Sight:
        """What the service sees, its mounts in their places."""
        sight = Sight(self.root(name), {**self._reached(name), **self._bound(name)})
        for mount in self.services[name].get("volumes", ()):
            place, source = sight.root / mount["target"].lstrip("/"), Path(mount["source"])
            if place.exists():
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            if mount["type"] == "volume":
                place.symlink_to(self.volume(mount["source"]))
            elif source.is_dir():
                place.symlink_to(source)
            else:
                place.write_text(sight.translated_file(source.read_text(), name))
        return sight

    def start(self, name: str) -> Child:
        """Start the service."""
        return self.processes.start(name, self._alone(name, self.command(name)))

    def complete(self, name: str, timeout_s: float = 60) -> None:
        """Run a one-shot service to its end, which is a good one."""
        child = self.start(name)
        assert child.wait(timeout_s) == 0, child.last_words

    def run(self, name: str, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """`docker compose run --rm NAME ARGUMENTS`, with `more` in its environment (`--env`)."""
        return subprocess.run(
            self._alone(name, self.command(name, *arguments), more),
            cwd=TREE,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def is_healthy(self, name: str) -> tuple[bool, str]:
        """Whether the service's own health check passes, and what it said."""
        kind, *words = self.services[name]["healthcheck"]["test"]
        said = [self.sight(name).translated(word) for word in words]
        command = ["/bin/sh", "-c", *said] if kind == "CMD-SHELL" else self._found(said)
        done = subprocess.run(
            self._alone(name, command), cwd=TREE, capture_output=True, text=True, check=False, timeout=30
        )
        return done.returncode == 0, done.stdout + done.stderr

    def wait_until_healthy(self, name: str, timeout_s: float = 60) -> None:
        """Return when the service's health check passes; TimeoutError with its words if it does not."""
        until = time.monotonic() + timeout_s
        while not (answer := self.is_healthy(name))[0]:
            if time.monotonic() > until or self.processes[name].returncode is not None:
                raise TimeoutError(f"{name} is not healthy: {answer[1]}\n{self.processes[name].last_words}")
            wait_for_any([self.processes[name]], 0.2)

    def _reached(self, name: str) -> dict[tuple[str, int], int]:
        """The ports of the services that share a network with this one, and its own."""
        mine = set(self.services[name].get("networks") or ())
        reached: dict[tuple[str, int], int] = {}
        for (host, port), here in self.ports.items():
            for network in mine & set(self.services[host].get("networks") or ()):
                settings = self.services[host]["networks"][network] or {}
                reached |= {(alias, port): here for alias in (host, *settings.get("aliases", ()))}
        return reached

    def _bound(self, name: str) -> dict[tuple[str, int], int]:
        """Its own port of figures, where it binds to every address of its container."""
        here = self.ports.get((name, METRICS))
        return {} if here is None else {("0.0.0.0", METRICS): here}  # noqa: S104  # the container's, which is not there

    def _alone(self, name: str, command: Sequence[str], more: Mapping[str, str] = MappingProxyType({})) -> list[str]:
        """The command in the environment of the service's container, and nothing of ours: what it lacks, it lacks."""
        environment = {**self.environment(name), **more}
        return ["/usr/bin/env", "-i", *(f"{key}={value}" for key, value in environment.items()), *command]

    @staticmethod
    def _found(command: Sequence[str]) -> list[str]:
        program = shutil.which(command[0], path=SEARCHED)
        if program is None:
            raise FileNotFoundError(f"{command[0]} is wanted on {SEARCHED}")
        return [program, *command[1:]]


def composed(processes: Processes, environment: Mapping[str, str]) -> Composed:
    """The project in the folder of `processes`, interpolated from `environment`, with a free port for each server."""
    services = config(environment=environment)["services"]
    ports = {("broker", 1883): free_port(), ("redis", 6379): free_port()}
    ports |= {(place.service.replace("_", "-"), METRICS): free_port() for place in FLOW}
    return Composed(processes.folder, services, processes, ports)
