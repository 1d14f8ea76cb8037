"""The first start of a deployment, and every later one."""

import hashlib
import re
import shutil
import stat
from pathlib import Path

import pytest

from examples.watch import PLAN
from mizzle.errors import Misconfigured
from services.ledger import keys
from services.ledger.accounts import SERVICES, admit, matches
from services.ledger.engine import connect
from services.ledger.first_start import start
from services.ledger.founding import Founded, planned
from services.ledger.ledger import Ledger
from services.ledger.migrate import migrate
from tests.services.plans import MODEL, TOML


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    text = TOML.format(goal=3, late="fold", noise=2.0, budget=10.0, crowd=2, windows="", staleness=2)
    (tmp_path / "plan.toml").write_text(text)
    (tmp_path / "w.safetensors").write_bytes(MODEL)
    return tmp_path


def started(folder: Path) -> Founded:
    return start(f"sqlite:///{folder}/ledger.db", folder / "plan.toml", folder / "keys", folder / "secrets")


def test_the_first_start_founds_the_federation_and_a_later_one_finds_it(folder: Path) -> None:
    first = started(folder)
    assert (first.federation, started(folder).public_keys) == ("pumps", first.public_keys)


@pytest.mark.parametrize(("endless", "windows"), [(True, None), (False, 15)])
def test_a_deployment_may_go_on_after_the_plans_last_window(
    folder: Path, *, endless: bool, windows: int | None
) -> None:
    """As `make up` does with the demo's plan."""
    ledger = f"sqlite:///{folder}/ledger.db"
    start(ledger, PLAN, folder / "keys", folder / "secrets", endless=endless)
    assert Ledger.open(ledger, "watch-har").plan().window.windows == windows
    start(ledger, PLAN, folder / "keys", folder / "secrets", endless=endless)


def test_every_service_account_gets_in_with_the_password_in_its_file(folder: Path) -> None:
    started(folder)
    lines = {line.split(":")[0]: line for line in (folder / "secrets/broker/passwords").read_text().splitlines()}
    files = {"gateway": "gateway/broker", "gateway-delivery": "gateway/broker", "reader": "reader/broker"}
    for name, file in {**files, "health": "broker/health"}.items():
        assert matches(lines[name], (folder / f"secrets/{file}.password").read_text().strip())
    assert lines.keys() == SERVICES


def test_redis_knows_no_user_without_a_password(folder: Path) -> None:
    started(folder)
    default, *users = (folder / "secrets/redis/users.acl").read_text().splitlines()
    assert default == "user default off"
    files = {"mizzle": "services/redis", "doctor": "doctor/redis", "health": "redis/health"}
    for user, file in files.items():
        digest = hashlib.sha256((folder / f"secrets/{file}.password").read_text().strip().encode()).hexdigest()
        assert any(line.startswith(f"user {user} on #{digest} ") for line in users)
    assert len(users) == len(files)
    assert not re.search(r"nopass|\+@all|>", "\n".join(users))


def test_a_password_whose_file_was_removed_is_made_anew_and_no_other(folder: Path) -> None:
    started(folder)
    secrets = {path: path.read_text() for path in (folder / "secrets").rglob("*.password")}
    removed = folder / "secrets/reader/broker.password"
    removed.unlink()
    started(folder)
    assert {path for path, text in secrets.items() if path.read_text() != text} == {removed}
    lines = (folder / "secrets/broker/passwords").read_text().splitlines()
    assert [matches(line, removed.read_text().strip()) for line in lines if line.startswith("reader:")] == [True]


def test_a_ledger_that_is_gone_while_its_keys_are_there_is_not_founded_anew(folder: Path) -> None:
    started(folder)
    (folder / "ledger.db").unlink()
    with pytest.raises(Misconfigured, match="keys are never replaced"):
        started(folder)


def test_a_founding_that_was_cut_off_before_the_ledger_had_it_is_begun_again_with_other_keys(folder: Path) -> None:
    cut_off = {role: key.public_key for role, key in keys.draft(folder / "keys").items()}
    migrate(connect(f"sqlite:///{folder}/ledger.db", new=True))
    assert not set(started(folder).public_keys.values()) & set(cut_off.values())
    assert {path.name for path in (folder / "keys").rglob("*.key")} == {f"{role}.key" for role in keys.ROLES}


def test_a_ledger_whose_tables_were_not_made_yet_is_founded(folder: Path) -> None:
    with connect(f"sqlite:///{folder}/ledger.db", new=True).connect():  # the file has SQLite's head and nothing else
        assert (folder / "ledger.db").stat().st_size > 0
    assert started(folder).federation == "pumps"


def test_a_founding_that_was_cut_off_before_its_keys_were_adopted_is_finished(folder: Path) -> None:
    founded = started(folder)
    for role in ("receipt", "release"):
        (folder / f"keys/{role}.key").rename(folder / f"keys/{keys.DRAFT}/{role}.key")
    assert started(folder).public_keys == founded.public_keys
    assert {role: keys.read(folder / "keys", role).public_key for role in keys.ROLES} == founded.public_keys


def test_each_signing_service_is_given_the_key_it_signs_with_and_no_other(folder: Path) -> None:
    founded = started(folder)
    for role in keys.ROLES:
        assert [path.name for path in (folder / "secrets/keys" / role).iterdir()] == [f"{role}.key"]
        assert keys.read(folder / "secrets/keys" / role, role).public_key == founded.public_keys[role]
        assert stat.S_IMODE((folder / f"secrets/keys/{role}/{role}.key").stat().st_mode) == 0o600


def test_the_three_volumes_that_are_backed_up_bring_back_the_federation_and_its_devices(folder: Path) -> None:
    founded = started(folder)
    admit(folder / "secrets/broker/passwords", {"pump-1": "one"})
    new = folder / "new"
    new.mkdir()
    for path in (
        folder / "plan.toml",
        folder / "w.safetensors",
        *folder.glob("ledger.db*"),
    ):  # with what SQLite has beside
        shutil.copy(path, new)
    for name in ("keys", "secrets/broker"):
        shutil.copytree(folder / name, new / name)
    assert started(new).public_keys == founded.public_keys
    lines = {line.split(":")[0]: line for line in (new / "secrets/broker/passwords").read_text().splitlines()}
    assert matches(lines["pump-1"], "one")
    assert matches(lines["gateway"], (new / "secrets/gateway/broker.password").read_text().strip())
    assert keys.read(new / "secrets/keys/release", "release").public_key == founded.public_keys["release"]


def test_no_device_gets_the_name_of_a_services_account(folder: Path) -> None:
    founded = started(folder)
    for name in SERVICES:
        with pytest.raises(Misconfigured, match="a service's account"):
            founded.token(name)


def test_a_plan_that_cannot_be_read_is_named(folder: Path) -> None:
    with pytest.raises(Misconfigured, match=r"none\.toml cannot be read"):
        planned(folder / "none.toml")
    (folder / "plan.toml").write_text("= 1")
    with pytest.raises(Misconfigured, match="is no TOML"):
        planned(folder / "plan.toml")
