"""What a training function is given."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest
import torch

from mizzle.device.effects import Train
from mizzle.device.events import Trained
from mizzle.device.task import Decline, Task
from mizzle.device.training import Done, Trainer, encoded
from mizzle.grid import fits
from mizzle.model import flat, named
from mizzle.terms import bound_of, codec_of, grid_of
from tests.mizzle.device.federation import FAR, MODEL, Federation

BARN = Federation()
COLUMNS = np.arange(10), np.arange(10) * 2


def order(*, train: str = "", deadline: int = FAR, deadline_s: float = 60.0, window: int = 1) -> Train:
    barn = replace(BARN, train=train, deadline_s=deadline_s)
    return Train(barn.invite("pump-7", window, deadline=deadline), barn.plan, barn.model)


def task(**wanted: object) -> Task:
    return Task(order(**wanted), np.random.default_rng(5))  # type: ignore[arg-type]


def test_batches_go_through_all_examples_once_an_epoch_in_another_order_each_time() -> None:
    batches = list(task().batches(*COLUMNS))
    assert [len(inputs) for inputs, _ in batches] == [4, 4, 2, 4, 4, 2]
    first, second = (np.concatenate([inputs for inputs, _ in half]) for half in (batches[:3], batches[3:]))
    assert sorted(first) == sorted(second) == list(range(10))
    assert list(first) != list(second)
    assert all((labels == inputs * 2).all() for inputs, labels in batches)


def test_batches_count_the_examples_that_were_seen_and_those_that_are_there() -> None:
    begun = task()
    batches = begun.batches(*COLUMNS)
    next(batches)
    assert (begun.seen, begun.examples) == (4, 10)


def test_batches_of_tensors_are_tensors() -> None:
    inputs, labels = next(task().batches(torch.arange(10.0).reshape(10, 1), torch.arange(10)))
    assert (inputs.shape, labels.dtype) == ((4, 1), torch.int64)
    assert (inputs[:, 0] == labels).all()


@pytest.mark.parametrize("wanted", [{"deadline": 1}, {"deadline_s": 1e-9}], ids=["the deadline", "a whole window"])
def test_no_batch_comes_after(wanted: dict[str, float]) -> None:
    begun = task(**wanted)
    assert (list(begun.batches(*COLUMNS)), begun.examples) == ([], 10)


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one length, got lengths \[10, 9\]"):
        next(task().batches(np.zeros(10), np.zeros(9)))


@pytest.mark.parametrize("name", ["epochs", "batch_size"])
def test_a_setting_that_is_no_count_is_refused_by_name(name: str) -> None:
    wrong = task()
    wrong.settings = {**wrong.settings, name: 0.5}
    with pytest.raises(ValueError, match=f"train.{name} is a whole number"):
        next(wrong.batches(*COLUMNS))


def test_weights_may_be_changed_in_place_without_changing_the_base() -> None:
    asked = order()
    begun = Task(asked, np.random.default_rng(5))
    begun.weights["bias"] += 1
    assert (named(asked.model)["bias"] == 0).all()


def test_weights_are_loaded_into_a_torch_module_of_the_same_names() -> None:
    module = torch.nn.Linear(4, 3)
    task().load_into(module)
    assert (module.weight.detach().numpy() == named(MODEL)["weight"]).all()
    with pytest.raises(RuntimeError, match="Missing key"):
        task().load_into(torch.nn.Sequential(torch.nn.Linear(4, 3)))


def trainer(seed: int | None, device: str = "pump-7") -> tuple[Trainer, list[list[int]]]:
    """A trainer, and the order in which each of its tasks will have seen the examples."""
    seen: list[list[int]] = []

    def train(begun: Task) -> object:
        seen.append([int(one) for (some,) in begun.batches(np.arange(10)) for one in some])
        return begun.weights

    return Trainer(device, train, seed, encoded, lambda _: None), seen


def test_with_a_seed_the_shuffling_repeats_for_a_device_and_a_window_and_for_no_other() -> None:
    same, seen = trainer(7)
    for window in (1, 1, 2):
        same.do(order(window=window))
    other, also = trainer(7, "pump-8")
    other.do(order())
    assert seen[0] == seen[1]
    assert len({tuple(one) for one in (*seen, *also)}) == 3


def test_without_a_seed_the_shuffling_is_fresh() -> None:
    fresh, seen = trainer(None)
    fresh.do(order())
    fresh.do(order())
    assert seen[0] != seen[1]


def test_a_torch_module_is_a_result() -> None:
    def train(begun: Task) -> object:
        module = torch.nn.Linear(4, 3)
        begun.load_into(module)
        with torch.no_grad():
            module.bias.add_(0.5)
        return module

    changes = []

    def encode(change: np.ndarray, *_: object) -> bytes:
        changes.append(change)
        return b"payload"

    done = Trainer("pump-7", train, None, encode, lambda _: None).do(order())
    assert done == Done(Trained(1, b"payload"), None)
    assert sorted(changes[0]) == pytest.approx([0.0] * 12 + [0.5] * 3)


def test_an_honest_payload_fits_whatever_it_is_invited_with() -> None:
    asked = order()
    change = np.full(flat(MODEL).size, 100.0)
    greedy = msgspec.structs.replace(asked.invitation, bound=2**40)
    update = codec_of(asked.plan).decode(encoded(change, asked.plan, greedy), grid_of(asked.plan))
    assert fits(update.multiplier, update.sum_of_squares, bound_of(asked.plan))
    assert not fits(update.multiplier + 10_000, update.sum_of_squares, bound_of(asked.plan))


def test_a_reason_to_decline_is_made_a_word() -> None:
    assert (Decline("no power, sorry").reason, Decline("").reason) == ("no-power-sorry", "declined")
