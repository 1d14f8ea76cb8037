"""What a training function is given."""

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import NoReturn

import msgspec
import numpy as np
import pytest
import torch
from safetensors.numpy import save

from mizzle.device.effects import Train
from mizzle.device.events import Declined, Trained
from mizzle.device.task import Decline, Task
from mizzle.device.training import Done, Trainer, encoded
from mizzle.grid import Vector, fits
from mizzle.model import filled, flat, named
from mizzle.plan import PlugIn
from mizzle.terms import bound_of, codec_of, grid_of
from mizzle.transport.clock import now
from tests.mizzle.device.federation import FAR, MODEL, PLAN, Federation

BARN = Federation()
PLAN_BY_EXAMPLES = PLAN.format(name="barn", train="", deadline_s=60.0).replace("clip", "examples = 10\nclip")
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


def test_a_task_goes_on_after_its_deadline_where_its_update_counts_in_later_windows() -> None:
    """The window ended a moment ago; in rounds there is no batch any more, buffered there are as many as in time."""
    a_moment_ago = now() - 1
    text = PLAN.format(name="barn", train="", deadline_s=60.0)
    rounds, buffered = (Federation(toml=text.replace('"rounds"', f'"{mode}"')) for mode in ("rounds", "buffered"))
    found = []
    for barn in (rounds, buffered):
        late = Train(barn.invite("pump-7", 1, deadline=a_moment_ago), barn.plan, barn.model)
        found.append(len(list(Task(late, np.random.default_rng(5)).batches(*COLUMNS))))
    assert found == [0, 6]


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


# Drift and data


def test_a_pull_leads_back_to_the_model_that_training_began_from() -> None:
    begun = task(train="proximal = 0.5")
    start = begun.weights["bias"].copy()
    begun.weights["bias"] += 3
    assert begun.pull({"bias": begun.weights["bias"], "weight": begun.weights["weight"]})["bias"].tolist() == [
        1.5
    ] * len(start)


def test_a_pull_on_a_torch_module_is_added_to_its_gradients() -> None:
    begun = task(train="proximal = 0.5")
    net = torch.nn.Linear(*reversed(begun.weights["weight"].shape))
    begun.load_into(net)
    net(torch.ones(1, net.in_features)).sum().backward()
    before = [parameter.grad.clone() for parameter in net.parameters() if parameter.grad is not None]
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(2)
    begun.pull_back(net)
    after = [parameter.grad for parameter in net.parameters() if parameter.grad is not None]
    assert [set((now - was).ravel().tolist()) for now, was in zip(after, before, strict=True)] == [{1.0}, {1.0}]


def test_without_the_setting_nothing_pulls() -> None:
    begun = task()
    assert not any(pull.any() for pull in begun.pull({name: w + 1 for name, w in begun.weights.items()}).values())


def test_a_pull_that_pushes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"train.proximal is a number, at least 0"):
        task(train="proximal = -1").pull({})


def weighed(examples: int) -> float:
    """How far the first weight of a device with so many examples moves, whose plan expects 10, if it learns .01."""
    barn = replace(BARN, toml=PLAN_BY_EXAMPLES)
    asked = Train(barn.invite("pump-7"), barn.plan, barn.model)

    def learn(task: Task) -> dict[str, object]:
        list(task.batches(np.zeros(examples)))
        return {name: weight + np.float32(0.01) for name, weight in task.weights.items()}

    def keep(change: Vector, *_: object) -> bytes:
        seen.append(float(change[0]))
        return b""

    seen: list[float] = []
    Trainer("pump-7", learn, 1, keep, lambda _: None).do(asked)
    return seen[0]


def test_an_update_is_weighed_on_the_device_by_its_examples() -> None:
    assert [weighed(examples) for examples in (5, 10, 20)] == pytest.approx([0.005, 0.01, 0.02], rel=1e-4)


def test_a_plan_whose_codec_is_not_there_is_declined_before_training() -> None:
    asked = order()
    sketched = msgspec.structs.replace(asked.plan.update, codec=PlugIn(name="sketch"))
    asked = replace(asked, plan=msgspec.structs.replace(asked.plan, update=sketched))
    trained: list[Task] = []
    done = Trainer("pump-7", trained.append, 1, encoded, lambda _: None).do(asked)
    assert (done.end, trained) == (Declined(1, "unknown-codec"), [])


BROKEN = {
    "NaN": filled(MODEL, np.full(15, np.nan)),
    "infinite": filled(MODEL, np.full(15, np.inf)),
    "short": MODEL[:-4],
    "of another size": save({"weight": np.zeros(3, np.float32)}),
    "no model": b"no model",
}


@pytest.mark.parametrize("model", BROKEN.values(), ids=BROKEN)
def test_a_model_that_is_none_is_declined_and_never_trained(model: bytes) -> None:
    asked = Train(BARN.invite("pump-7"), BARN.plan, model)
    done = Trainer("pump-7", lambda _task: pytest.fail("it was trained"), 1, encoded, lambda _: None).do(asked)
    assert done == Done(Declined(1, "broken-model"))


class Panic(BaseException):
    """What compiled code raises when it has lost its way."""


def panicking(_task: Task) -> NoReturn:
    raise Panic


@pytest.mark.parametrize("function", [lambda _task: sys.exit("enough"), panicking], ids=["exits", "panics"])
def test_a_training_function_that_would_end_its_device_fails_its_task(function: Callable[[Task], object]) -> None:
    done = Trainer("pump-7", function, 1, encoded, lambda _: None).do(order())
    assert done == Done(Declined(1, "failed"))


def test_a_device_that_counted_no_examples_cannot_be_weighed_and_declines() -> None:
    barn = replace(BARN, toml=PLAN_BY_EXAMPLES)
    asked = Train(barn.invite("pump-7"), barn.plan, barn.model)
    done = Trainer("pump-7", lambda task: task.weights, 1, encoded, lambda _: None).do(asked)
    assert done.end == Declined(1, "uncounted")
