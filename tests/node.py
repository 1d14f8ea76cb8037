"""Node for tests: the program, and the packages of a folder of ours, installed once as its lock file says.

Who has no Node, or no registry to install from, skips these tests as for a missing server (`tests.servers`).
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.lives import CHECKOUT
from tests.servers import missing

OLDEST = 18
INSTALL_S = 300


def need_node(folder: str) -> list[str]:
    """The start of a command that runs a program of `folder` (`schemas` or `examples`), whose packages are there."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or version(node) < OLDEST:
        missing("node")
    if npm is None:
        missing("npm")
    if not installed(CHECKOUT / folder, npm):
        missing("npm-packages")
    return [node]


def version(node: str) -> int:
    """The first number of Node's version."""
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"v(\d+)\.", said)
    return int(found[1]) if found else 0


def installed(folder: Path, npm: str) -> bool:
    """Whether the packages are there, exactly as locked; several workers may ask at once."""
    with (folder / "package-lock.json").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted, stamp = hashlib.sha256(lock.read()).hexdigest(), folder / "node_modules" / ".mizzle-lock"
        if stamp.exists() and stamp.read_text() == wanted:
            return True
        argv = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        if subprocess.run(argv, cwd=folder, timeout=INSTALL_S, check=False).returncode != 0:
            return False
        stamp.write_text(wanted)
        return True


def run_node(folder: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What a Node program of ours says, once it has ended."""
    return subprocess.run(
        [*need_node(folder), *arguments],
        cwd=CHECKOUT / folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def told(ended: subprocess.CompletedProcess[str]) -> Any:
    """The JSON that a program printed."""
    assert ended.stdout, ended.stderr
    return json.loads(ended.stdout)
