"""docker-compose.yml as a text: what the real parser makes of it, and what it promises to people who run it."""

import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from services.ledger.first_start import start
from services.local.processes import Processes
from services.pipeline import FLOW
from tests.compose.conftest import planned
from tests.compose.containers import SEARCHED, TREE, Sight, composed, config

FILE = TREE / "docker-compose.yml"
ONE_SHOT = {"setup", "operator", "demo-tokens"}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return config()


def test_the_real_parser_accepts_the_file_and_says_nothing() -> None:
    command = ["docker-compose", "--profile", "*", "config", "-q"]
    done = subprocess.run(command, cwd=TREE, env={"HOME": "/", "PATH": SEARCHED}, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_every_service_of_the_pipeline_runs_and_says_whether_it_is_well(project: dict[str, Any]) -> None:
    for place in FLOW:
        service = project["services"][place.service.replace("_", "-")]
        assert service["command"] == ["python", "-m", f"services.{place.service}"]
        assert service["healthcheck"]["test"] == ["CMD", "python", "-m", f"services.{place.service}", "health"]
        keys = [mount["source"] for mount in service["volumes"] if mount["target"] == "/var/lib/mizzle/keys"]
        assert keys == ([f"{place.signs}-key"] if place.signs else []), place.service


def test_no_container_has_privileges_or_writes_beside_its_volumes(project: dict[str, Any]) -> None:
    for name, service in project["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["user"] == "10001:10001", name
        assert int(service["mem_limit"]) > 0, name
        if name not in ONE_SHOT:
            assert (service["restart"], service["stop_grace_period"]) == ("unless-stopped", "30s"), name


def test_the_brokers_port_alone_is_published_and_on_loopback_unless_told(project: dict[str, Any]) -> None:
    published = {name: ports for name, service in project["services"].items() if (ports := service.get("ports"))}
    assert list(published) == ["broker"]
    (port,) = published["broker"]
    assert (port["host_ip"], port["published"], port["target"]) == ("127.0.0.1", "1883", 1883)
    elsewhere = config(environment={"MIZZLE_BIND": "192.0.2.7", "MIZZLE_PORT": "2883"})["services"]["broker"]["ports"]
    assert [(port["host_ip"], port["published"]) for port in elsewhere] == [("192.0.2.7", "2883")]
    assert project["networks"]["inside"]["internal"] is True
    assert list(project["services"]["redis"]["networks"]) == ["inside"]


def test_figures_are_shown_on_the_inner_network_and_nowhere_else(project: dict[str, Any]) -> None:
    """Every address of a container is inside, or the name is one that is known inside alone."""
    for place in FLOW:
        service = project["services"][place.service.replace("_", "-")]
        host, _, port = service["environment"]["MIZZLE_METRICS"].rpartition(":")
        assert port == "9100"
        if host == "0.0.0.0":  # noqa: S104  # the container's
            assert list(service["networks"]) == ["inside"], place.service
        else:
            known = [name for name, told in service["networks"].items() if host in (told or {}).get("aliases", ())]
            assert (known, host in project["services"]) == (["inside"], False), place.service
    assert "ports" not in project["services"]["gateway"]


def test_the_operator_sees_no_private_key_no_payload_and_no_way_out(project: dict[str, Any]) -> None:
    operator = project["services"]["operator"]
    assert all(project["networks"][name]["internal"] for name in operator["networks"])
    sources = {mount["source"]: mount.get("read_only", False) for mount in operator["volumes"]}
    assert sources == {"ledger": False, "broker-secrets": False, "doctor-secrets": True, "reader-secrets": True}
    assert set(project["services"]["redis"]["networks"]) == {"inside"}


@pytest.mark.parametrize(("folder", "flag"), [("", "--endless"), ("./my-plan", "--no-endless")])
def test_only_the_demos_plan_goes_on_after_its_last_window(folder: str, flag: str) -> None:
    setup = config(environment={"MIZZLE_PLAN_FOLDER": folder} if folder else {})["services"]["setup"]
    assert setup["command"] == ["python", "-m", "services.ledger", "setup", flag]


def test_images_of_others_are_pinned_to_a_version(project: dict[str, Any]) -> None:
    images = [service["image"] for service in project["services"].values() if "build" not in service]
    bases = re.findall(r"^FROM (\S+:\S+)", (TREE / "services/Dockerfile").read_text(), re.MULTILINE)
    assert len(images) == 2
    assert bases
    for image in (*images, *bases):
        assert re.search(r":\d+\.\d+\.\d+(-[a-z-]+)?$", image), image


def test_no_password_stands_in_a_file_an_environment_or_a_command(project: dict[str, Any]) -> None:
    """What is named for a password holds the path of a file, or reads one."""
    for name, service in project["services"].items():
        for variable, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|TOKEN", variable):
                assert value.startswith("/var/lib/mizzle/secrets"), (name, variable)
            assert not re.search(r"://[^/@]*:[^/@]*@", value), (name, variable)
    for path in (FILE, *(TREE / "broker_config").rglob("*"), TREE / "services/Dockerfile"):
        if path.is_file():
            words = re.findall(r"^\s*(?:requirepass|masterauth|password)\b.*$", path.read_text(), re.MULTILINE)
            assert words == [], path


def test_two_first_starts_make_different_secrets_which_only_their_owner_reads(tmp_path: Path) -> None:
    first, second = (secrets_of(tmp_path / name) for name in ("one", "two"))
    assert first.keys() == second.keys()
    assert len(first) >= 10
    assert not set(first.values()) & set(second.values())
    copies = [path for path in first if path.startswith("secrets/keys/")]
    assert len(set(first.values())) == len(first) - len(copies)


def test_a_later_start_finds_the_secrets_of_the_first(tmp_path: Path) -> None:
    before = secrets_of(tmp_path)
    assert secrets_of(tmp_path) == before


def secrets_of(folder: Path) -> dict[str, str]:
    """Every secret that a start in `folder` makes or finds, by its path; each has mode 0600."""
    plan = folder / "plan"
    if not plan.exists():
        folder.mkdir(exist_ok=True)
        planned(plan)
    start(f"sqlite:///{folder}/ledger.db", plan / "plan.toml", folder / "keys", folder / "secrets")
    paths = [path for name in ("keys", "secrets") for path in (folder / name).rglob("*") if path.stat().st_size]
    files = [path for path in paths if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    return {str(path.relative_to(folder)): path.read_text() for path in files}


def test_a_service_sees_its_own_mounts_its_networks_servers_and_nothing_else(children: Processes) -> None:
    project = composed(children, {})
    gateway, redis = project.sight("gateway"), project.sight("redis")
    broker = project.ports["broker", 1883]
    assert (
        gateway.translated("mqtt://broker:1883 -h broker -p 1883")
        == f"mqtt://127.0.0.1:{broker} -h 127.0.0.1 -p {broker}"
    )
    assert redis.translated("mqtt://broker:1883") == "mqtt://broker:1883"
    assert Path(gateway.translated("/var/lib/mizzle/ledger")).is_dir()
    assert not Path(gateway.translated("/var/lib/mizzle/keys")).exists()


def test_only_whole_names_paths_and_ports_are_translated() -> None:
    sight = Sight(Path("/root-of-it"), {("redis", 6379): 7})
    assert sight.translated("redis:63790 my-redis:6379 /var/lib/mizzles $$HOME") == (
        "redis:63790 my-redis:6379 /var/lib/mizzles $HOME"
    )
    assert sight.translated_file("port 6379\nbind * -::*\n", "redis") == "port 7\nbind 127.0.0.1\n"
