"""A whole device: from its token to a receipt, through losses, on the broker in memory and on a real one."""

import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from mizzle.codecs.hadamard import Hadamard
from mizzle.device.enrol import broker_password
from mizzle.device.states import Bounds
from mizzle.device.task import Decline, Task
from mizzle.device.train import ENVIRONMENT, Device, _declines
from mizzle.errors import Away, Misconfigured
from mizzle.grid import rotate_back
from mizzle.messages import Decline as Declined
from mizzle.messages import Enrolment, Presence
from mizzle.model import filled, flat, flat_of, named
from mizzle.terms import grid_of
from mizzle.transport.memory import MemoryBroker, MemoryBus
from mizzle.transport.passwords import VARIABLE
from tests.disks import full, small_disk
from tests.mizzle.device.federation import MODEL, Federation
from tests.mizzle.device.fleet import Running, device_in, receipts, sends, waiting
from tests.mizzle.device.gateway import Delivered, Gateway
from tests.mizzle.transport.worlds import MemoryWorld, MqttWorld, World


@pytest.fixture(params=["memory", "mosquitto", "iotcore"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    if request.param == "memory":
        yield MemoryWorld()
        return
    broker = request.getfixturevalue(request.param)
    with ExitStack() as stack:
        yield MqttWorld(broker.port, stack, complete=True)


@pytest.fixture
def name() -> str:
    return f"pump-{secrets.token_hex(4)}"


@pytest.fixture
def barn(federation: str) -> Federation:
    return Federation(name=federation)


@pytest.fixture
def gateway(world: World, barn: Federation) -> Iterator[Gateway]:
    bus = world.bus("gateway", session_expiry_s=0)
    yield Gateway(bus, barn)
    bus.close()


@pytest.fixture
def device(world: World, barn: Federation, name: str, tmp_path: Path) -> Device:
    return device_in(world, tmp_path, barn.token(name))


def present(gateway: Gateway, *, online: bool = True) -> Presence:
    return gateway.heard.next(Presence, lambda presence: presence.online is online)


def after(gateway: Gateway, device: Device, until: Callable[[], bool]) -> None:
    """Wait until this is so: a device says nothing when it has cleared an update."""
    done = threading.Event()
    for _ in range(400):
        if until():
            return
        done.wait(0.02)
    pytest.fail(f"{device.home}: still not so; heard {gateway.heard.so_far(object)}")


def test_from_a_token_to_a_receipt(
    gateway: Gateway, device: Device, name: str, tmp_path: Path, barn: Federation
) -> None:
    with Running(device):
        assert gateway.heard.next(Enrolment).device == name
        present(gateway)
        gateway.invite(name, 1)
        delivered = gateway.heard.next(Delivered)
        after(gateway, device, lambda: receipts(tmp_path) == [(delivered.id, 1)])
    assert (delivered.update.device, delivered.update.window, waiting(tmp_path)) == (name, 1, [])
    trained = {**named(MODEL)}
    trained["weight"][0, 0] += 0.25
    assert decoded(delivered.payload, barn) == pytest.approx(flat_of(MODEL, trained) - flat(MODEL), abs=0.005)


def decoded(payload: bytes, barn: Federation) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    grid = grid_of(barn.plan)
    levels = Hadamard(8).decode(payload, grid)
    integers = levels.levels.astype(np.int64) * levels.multiplier
    return rotate_back(grid, integers, bytes(32)) * grid.unit / 64


def test_an_update_trained_while_the_network_is_lost_arrives_when_it_is_back(
    world: World, gateway: Gateway, device: Device, name: str, tmp_path: Path
) -> None:
    device.on_trained = lambda _invitation: world.cut(name)
    with Running(device):
        present(gateway)
        gateway.invite(name, 1)
        assert present(gateway, online=False).device == name
        after(gateway, device, lambda: [window for _, window in waiting(tmp_path)] == [1])
        world.mend(name)
        delivered = gateway.heard.next(Delivered)
        after(gateway, device, lambda: receipts(tmp_path) == [(delivered.id, 1)])


def test_what_has_no_receipt_is_sent_again_on_every_new_line_with_the_same_bytes(
    world: World, gateway: Gateway, device: Device, name: str, tmp_path: Path
) -> None:
    gateway.gives_receipts = False
    device.encode = lambda *_: secrets.token_bytes(250_000)
    with Running(device):
        present(gateway)
        gateway.invite(name, 1)
        first = gateway.heard.next(Delivered)
        world.cut(name)
        present(gateway, online=False)
        world.mend(name)
        second = gateway.heard.next(Delivered)
        gateway.answer(name, first.id)
        after(gateway, device, lambda: waiting(tmp_path) == [])
    assert (first, len(first.parts), sends(tmp_path)) == (second, 3, 2)


def test_a_device_that_starts_again_sends_what_waited_with_the_same_bytes_and_without_its_token(
    world: World, gateway: Gateway, device: Device, name: str, tmp_path: Path
) -> None:
    gateway.gives_receipts = False
    with Running(device):
        present(gateway)
        gateway.invite(name, 1)
        first = gateway.heard.next(Delivered)
    gateway.gives_receipts = True
    with Running(device_in(world, tmp_path, None)) as again:
        assert gateway.heard.next(Delivered) == first
        after(gateway, again.device, lambda: receipts(tmp_path) == [(first.id, 1)])
    assert len(gateway.heard.so_far(Enrolment)) == 1


def test_a_device_whose_disk_is_full_trains_no_more_and_goes_on_sending_until_there_is_room(
    barn: Federation, name: str, tmp_path: Path
) -> None:
    world, home = MemoryWorld(), tmp_path / "home"
    with small_disk(home, 2**20):
        device, gateway = device_in(world, home, barn.token(name)), Gateway(world.bus("gateway"), barn)
        trained: list[int] = []
        device.on_trained = lambda invitation: trained.append(invitation.window)
        gateway.gives_receipts = False
        with Running(device):
            present(gateway)
            gateway.invite(name, 1)
            kept = gateway.heard.next(Delivered)
            with full(home):
                gateway.invite(name, 2)
                declined = gateway.heard.next(Declined)
                assert (declined.window, declined.reason) == (2, "outbox-full")
                world.cut(name)
                present(gateway, online=False)
                world.mend(name)
                assert gateway.heard.next(Delivered) == kept
            gateway.gives_receipts = True
            gateway.invite(name, 3)
            gateway.heard.next(Delivered, lambda delivered: delivered.update.window == 3)
            after(gateway, device, lambda: receipts(home) != [])
    assert trained == [1, 3]


def test_what_waits_is_sent_though_the_next_training_wants_more_memory_than_there_is(
    barn: Federation, name: str, tmp_path: Path
) -> None:
    world = MemoryWorld()
    device, gateway = device_in(world, tmp_path, barn.token(name)), Gateway(world.bus("gateway"), barn)
    honest = device._function
    assert honest is not None

    @device.train
    def train(task: Task) -> object:
        return honest(task) if task.window == 1 else np.ones(1 << 62, np.uint8)

    gateway.gives_receipts = False
    with Running(device):
        present(gateway)
        gateway.invite(name, 1)
        kept = gateway.heard.next(Delivered)
        gateway.invite(name, 2)
        declined = gateway.heard.next(Declined)
        assert (declined.window, declined.reason) == (2, "failed")
        world.cut(name)
        present(gateway, online=False)
        world.mend(name)
        assert gateway.heard.next(Delivered) == kept


def test_at_the_cap_of_its_outbox_a_device_trains_no_more_forgets_nothing_and_goes_on_sending_until_there_is_room(
    barn: Federation, name: str, tmp_path: Path
) -> None:
    world, most = MemoryWorld(), Bounds().updates
    device, gateway = device_in(world, tmp_path, barn.token(name)), Gateway(world.bus("gateway"), barn)
    trained: list[int] = []
    device.on_trained = lambda invitation: trained.append(invitation.window)
    gateway.gives_receipts = False
    with Running(device):
        present(gateway)
        kept = []
        for window in range(1, most + 1):
            gateway.invite(name, window)
            kept.append((gateway.heard.next(Delivered).id, window))
        gateway.invite(name, most + 1)
        declined = gateway.heard.next(Declined)
        assert (declined.window, declined.reason) == (most + 1, "outbox-full")
        assert (waiting(tmp_path), sends(tmp_path)) == (kept, most)
        world.cut(name)
        present(gateway, online=False)
        gateway.gives_receipts = True
        world.mend(name)
        after(gateway, device, lambda: waiting(tmp_path) == [])
        assert sorted(receipts(tmp_path)) == sorted(kept)
        gateway.invite(name, most + 2)
        fresh = gateway.heard.next(Delivered, lambda delivered: delivered.update.window == most + 2)
        after(gateway, device, lambda: receipts(tmp_path)[-1] == (fresh.id, most + 2))
    assert trained == [window for _, window in [*kept, (fresh.id, most + 2)]]


def test_while_it_trains_the_line_is_tended(world: World, gateway: Gateway, device: Device, name: str) -> None:
    may_end = threading.Event()

    @device.train
    def train(task: Task) -> object:
        if task.window == 2:
            assert may_end.wait(8)
        return task.weights

    gateway.gives_receipts = False
    with Running(device):
        present(gateway)
        gateway.invite(name, 1)
        first = gateway.heard.next(Delivered)
        gateway.invite(name, 2)
        world.cut(name)
        present(gateway, online=False)
        world.mend(name)
        present(gateway)
        assert gateway.heard.next(Delivered) == first
        may_end.set()
        # The broker may bring the first once more, out of the session: what it has not acknowledged is sent twice.
        assert gateway.heard.next(Delivered, lambda update: update != first).update.window == 2


def test_a_device_that_stops_says_goodbye(gateway: Gateway, device: Device) -> None:
    with Running(device):
        assert present(gateway).online
    assert present(gateway, online=False).device


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (Decline("battery is low!"), "battery-is-low-"),
        (RuntimeError("a fault in the training function"), "failed"),
        ({"weight": np.zeros((3, 4)), "bias": np.array([0, np.nan, 0])}, "not-finite"),
        ({"weight": np.zeros((3, 4)), "bias": np.array([0, np.inf, 0])}, "not-finite"),
        ({"weight": np.zeros((4, 3)), "bias": np.zeros(3)}, "wrong-shape"),
        ({"weight": np.zeros((3, 4))}, "wrong-shape"),
        (None, "wrong-shape"),
    ],
)
def test_what_is_no_update_is_declined_with_a_reason(
    barn: Federation, tmp_path: Path, result: object, reason: str
) -> None:
    world = MemoryWorld()
    gateway = Gateway(world.bus("gateway"), barn)
    device = device_in(world, tmp_path, barn.token("pump-7"))

    @device.train
    def train(_task: Task) -> object:
        if isinstance(result, Exception):
            raise result
        return result

    with Running(device):
        present(gateway)
        gateway.invite("pump-7", 1)
        declined = gateway.heard.next(Declined)
        assert (declined.window, declined.reason) == (1, reason)
        gateway.invite("pump-7", 2)
        assert gateway.heard.next(Declined).window == 2


def test_a_device_that_was_given_a_broken_model_declines_and_takes_part_in_the_next_window(tmp_path: Path) -> None:
    """Whoever signed the model: its digest is right, and yet nothing can be trained from it."""
    world, barn = MemoryWorld(), Federation(model=filled(MODEL, np.full(15, np.nan)))
    gateway = Gateway(world.bus("gateway"), barn)
    with Running(device_in(world, tmp_path, barn.token("pump-7"))):
        present(gateway)
        for window in (1, 2):
            gateway.invite("pump-7", window)
            declined = gateway.heard.next(Declined)
            assert (declined.window, declined.reason) == (window, "broken-model")


def test_a_device_tells_how_many_examples_it_has_once_it_has_trained(barn: Federation, tmp_path: Path) -> None:
    world = MemoryWorld()
    gateway = Gateway(world.bus("gateway"), barn)
    device = device_in(world, tmp_path, barn.token("pump-7"))

    @device.train
    def train(task: Task) -> object:
        assert sum(len(some) for (some,) in task.batches(np.zeros(11))) == 22
        return task.weights

    with Running(device):
        assert present(gateway).examples == 0
        gateway.invite("pump-7", 1)
        assert gateway.heard.next(Presence).examples == 11


def test_an_identity_once_given_is_kept_and_a_second_enrolment_is_not_needed(barn: Federation, tmp_path: Path) -> None:
    broker = MemoryBroker()
    gateway = Gateway(MemoryBus(broker, "gateway"), barn)
    device = device_in(MemoryWorld(), tmp_path, barn.token("pump-7"))
    device.connect = lambda name, will: MemoryBus(broker, name, will=will)
    identity = device.enrol(timeout_s=5)
    assert (identity.device, identity.public_key) == ("pump-7", gateway.keys["pump-7"])
    assert device.enrol(timeout_s=0) == identity
    assert len(gateway.heard.so_far(Enrolment)) == 1


def test_an_enrolment_that_nobody_answers_ends_in_time_and_says_so(tmp_path: Path, barn: Federation) -> None:
    device = device_in(MemoryWorld(), tmp_path, barn.token("pump-7"))
    with pytest.raises(Away, match=r"no identity for pump-7 came within 0\.3 s"):
        device.enrol(timeout_s=0.3)


def test_a_device_refuses_to_start_in_the_home_of_another(barn: Federation, tmp_path: Path) -> None:
    world = MemoryWorld()
    gateway = Gateway(world.bus("gateway"), barn)
    device_in(world, tmp_path, barn.token("pump-7")).enrol(timeout_s=5)
    with pytest.raises(Misconfigured, match="is the home of pump-7"):
        device_in(world, tmp_path, barn.token("pump-8")).run()
    (tmp_path / "key").write_bytes(bytes(32))
    with pytest.raises(Misconfigured, match="another key"):
        device_in(world, tmp_path, None).run()
    assert set(gateway.keys) == {"pump-7"}


def test_a_device_without_token_or_training_function_refuses_to_start(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="MIZZLE_TOKEN"):
        device_in(MemoryWorld(), tmp_path, None).run()
    with pytest.raises(Misconfigured, match=r"@device\.train"):
        Device("mqtt://127.0.0.1:1", tmp_path).run()


def test_a_password_in_a_file_takes_the_place_of_the_one_that_the_token_says(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("of this broker's own\n")
    token = f"mzt1.pumps.pump-1.{'0' * 32}.{'1' * 64}"
    device = Device("mqtt://127.0.0.1:1", tmp_path / "home", token=token)
    for given, password in (
        ({}, broker_password("0" * 32)),
        ({VARIABLE: str(tmp_path / "password")}, "of this broker's own"),
    ):
        before = ENVIRONMENT.set(given)
        with device._life(_declines):
            assert device.password == password
        ENVIRONMENT.reset(before)
