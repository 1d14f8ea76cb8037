"""A password is in a file, never in an address."""

from pathlib import Path

import pytest

from mizzle.errors import Misconfigured
from mizzle.transport.mqtt_bus import MqttBus
from mizzle.transport.passwords import VARIABLE, broker_password


def test_the_password_is_the_files_text_without_its_end(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("open sesame\n")
    assert broker_password({VARIABLE: str(tmp_path / "password")}) == "open sesame"


def test_without_the_setting_there_is_none() -> None:
    assert broker_password({}) is None
    assert broker_password({VARIABLE: ""}) is None


def test_a_file_that_is_missing_or_empty_is_named_with_its_setting(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    for name in ("empty", "missing"):
        with pytest.raises(Misconfigured, match=f"{VARIABLE}.*{name}"):
            broker_password({VARIABLE: str(tmp_path / name)})


@pytest.mark.parametrize("rest", ["127.0.0.1:1883", "127.0.0.1", "127.0.0.1:no-port", "[", "", "ses@me:1883"])
@pytest.mark.parametrize("scheme", ["mqtt", "mqtts"])
def test_an_address_with_a_password_is_refused_and_the_password_not_repeated(scheme: str, rest: str) -> None:
    with pytest.raises(Misconfigured, match="holds no password") as refused:
        MqttBus(f"{scheme}://reader:sesame@{rest}", "reader")
    assert "sesame" not in str(refused.value)


def test_the_user_is_the_one_in_the_address_else_the_client() -> None:
    named, unnamed = (MqttBus(f"mqtt://{user}127.0.0.1:1883", "me")._line._address for user in ("reader@", ""))
    assert (named.client_id, named.user, unnamed.user) == ("me", "reader", "me")
