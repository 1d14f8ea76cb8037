"""An MQTT broker of our own: mosquitto where it is installed, else the small one that pip installs."""

import importlib.util
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Final, Literal, get_args

from mizzle.errors import Misconfigured
from services.local.processes import Processes
from services.local.waiting import LOOPBACK, free_port, wait_for_port

Kind = Literal["mosquitto", "iotcore"]
CONFIG: Final = Path(__file__).parents[2] / "broker_config" / "mosquitto"

# MQTT 5 only, as we speak it: each version would want a port of its own. It keeps segment size × count bytes for every
# filter somebody subscribed to, and drops the oldest in silence; many small segments drop little at a time.
IOTCORE: Final = Template("""\
id = 0

[router]
id = 0
max_connections = 10000
max_outgoing_packet_count = 200
max_segment_size = 1048576
max_segment_count = 16

[v5.1]
name = "loopback"
listen = "${host}:${port}"
next_connection_delay_ms = 0

[v5.1.connections]
connection_timeout_ms = 5000
max_payload_size = 5242880
max_inflight_count = 1000
dynamic_filters = true
""")


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker that listens: MQTT 5 over plain TCP, without a password, on the loopback interface."""

    kind: Kind
    host: str
    port: int


def brokers() -> tuple[Kind, ...]:
    """The brokers this machine has, the best first."""
    there = {"mosquitto": _mosquitto() is not None, "iotcore": importlib.util.find_spec("iotcore") is not None}
    return tuple(kind for kind in get_args(Kind) if there[kind])


def start_broker(  # noqa: PLR0913  # what may differ is told by name
    children: Processes,
    kind: Kind | None = None,
    *,
    port: int | None = None,
    name: str = "broker",
    keep: bool = False,
    witness: str | None = None,
) -> Broker:
    """Start a broker in the folder of `children`, the best there is unless `kind` says which, and wait for its port.

    A `witness` is a client's name that may hear and say everything, against all other rules.
    """
    chosen, port = kind or _best(), port or free_port()
    argv = broker_command(children.folder / name, port, chosen, witness)
    wait_for_port(port, children.start(name, argv, keep=keep))
    return Broker(chosen, LOOPBACK, port)


def broker_command(folder: Path, port: int, kind: Kind | None = None, witness: str | None = None) -> tuple[str, ...]:
    """The command that runs a broker on `port`; its configuration is written into `folder`, where its state goes too.

    Raises:
        Misconfigured: the broker asked for, or any if none was, is not installed.
    """
    folder.mkdir(exist_ok=True)
    match kind or _best():
        case "mosquitto":
            return _mosquitto_command(folder, port, witness)
        case "iotcore":
            return _iotcore_command(folder, port)


def _best() -> Kind:
    if found := brokers():
        return found[0]
    raise Misconfigured("an MQTT broker was wanted and none is here; `apt install mosquitto` or `pip install iotcore`")


def _mosquitto() -> str | None:
    # Debian puts it into /usr/sbin, which is not on every PATH.
    return shutil.which("mosquitto", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin")))


def _mosquitto_command(folder: Path, port: int, witness: str | None) -> tuple[str, ...]:
    if (binary := _mosquitto()) is None:
        raise Misconfigured("mosquitto was wanted, on PATH, in /usr/sbin or /usr/local/sbin; `apt install mosquitto`")
    acl = folder / "acl"
    shutil.copyfile(CONFIG / "acl", acl)
    acl.chmod(0o600)
    if witness:
        with acl.open("a") as rules:
            rules.write(f"\nuser {witness}\ntopic readwrite mz/#\n")
    template = Template((CONFIG / "mosquitto.conf").read_text())
    config = folder / "mosquitto.conf"
    config.write_text(template.substitute(port=port, acl=acl, both=CONFIG / "both", state=f"{folder}/"))
    return binary, "-c", str(config)


def _iotcore_command(folder: Path, port: int) -> tuple[str, ...]:
    config = folder / "iotcore.toml"
    config.write_text(IOTCORE.substitute(host=LOOPBACK, port=port))
    # It calls every packet an error in its log.
    return sys.executable, "-m", "iotcore", "--config", str(config), "--log-level", "CRITICAL"
