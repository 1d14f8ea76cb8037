"""A plan says everything once: what it leaves out has a default, what it misspells or contradicts is named."""

import hashlib
import json
import math
from base64 import b64encode
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from mizzle import layout
from mizzle import plan as plans
from mizzle.errors import Misconfigured
from mizzle.plan import Plan, PlugIn, from_canonical, from_toml


def by_hand(header: dict[str, Any], size: int) -> bytes:
    """A safetensors file whose bytes depend on no library."""
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(size)


MODEL = by_hand(
    {
        "bias": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]},
        "weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [12, 36]},
    },
    size=36,
)
DIGEST = "46f14459f3fbc26b1664dc6700c54a017828e70e18799f82d30ef5a1a23243e2"

LEAST = """
schema = 1
federation = "watch-har"
model = "mlp.safetensors"
[train]
[window]
mode = "rounds"
goal = 12
quorum = 8
[select]
policy = "uniform"
[update]
codec = "hadamard"
[combine]
strategy = "fedavg"
[privacy]
mechanism = "gaussian"
"""

TABLES = {
    "window": plans.WindowPlan,
    "update": plans.UpdatePlan,
    "judge": plans.JudgePlan,
    "combine": plans.CombinePlan,
    "privacy": plans.PrivacyPlan,
    "release": plans.ReleasePlan,
}


def read(text: str = LEAST) -> Plan:
    return from_toml(text, MODEL)


def least(**settings: str) -> str:
    """The least plan with some lines added to its tables; a table that it leaves out begins at its end."""
    text = LEAST
    for table, line in settings.items():
        head = f"[{table}]\n"
        text = text.replace(head, head + line + "\n") if head in text else text + head + line + "\n"
    return text


def changed(old: str, new: str) -> str:
    assert old in LEAST
    return LEAST.replace(old, new)


def test_a_plan_that_says_the_least_has_every_default() -> None:
    assert json.loads(read().canonical) == {
        "schema": 1,
        "federation": "watch-har",
        "model": {
            "name": "mlp.safetensors",
            "digest": b64encode(hashlib.sha256(MODEL).digest()).decode(),
            "size": len(MODEL),
            "parameters": 9,
        },
        "train": {},
        "window": {
            "mode": "rounds",
            "goal": 12,
            "quorum": 8,
            "invite": 1.33,
            "deadline_s": 60.0,
            "pause_s": 0.0,
            "late": "fold",
            "max_staleness": 4,
            "windows": None,
        },
        "select": {"name": "uniform", "fields": {}},
        "update": {"codec": {"name": "hadamard", "fields": {}}, "clip": 1.0},
        "judge": {"scores": ["norm"]},
        "combine": {"strategy": {"name": "fedavg", "fields": {}}, "weight": "uniform"},
        "privacy": {
            "mechanism": {"name": "gaussian", "fields": {}},
            "delta": 1e-5,
            "device_budget": 1000.0,
            "federation_budget": 1000.0,
            "minimum_crowd": 8,
        },
        "release": {"every": 1, "expires_h": 168.0},
    }


def test_what_a_table_does_not_know_is_a_field_of_its_plug_in() -> None:
    text = least(update="bits = 4", privacy="noise_multiplier = 0.2", combine="momentum = 0.9", select="salt = 'x'")
    plan = read(text)
    assert plan.update.codec == PlugIn(name="hadamard", fields={"bits": 4})
    assert plan.privacy.mechanism == PlugIn(name="gaussian", fields={"noise_multiplier": 0.2})
    assert plan.combine.strategy == PlugIn(name="fedavg", fields={"momentum": 0.9})
    assert plan.select == PlugIn(name="uniform", fields={"salt": "x"})


def test_what_a_window_invites_and_holds_at_most() -> None:
    folding, refusing = read().window, read(least(window='late = "refuse"')).window
    assert (folding.invited, folding.most) == (16, 32)
    assert (refusing.invited, refusing.most) == (16, 16)


def test_a_buffered_window_holds_its_goal_and_no_more() -> None:
    buffered = read(changed('"rounds"', '"buffered"')).window
    assert (buffered.invited, buffered.goal, buffered.most) == (16, 12, 12)


def test_a_task_may_outlast_its_window_where_updates_count_in_later_ones() -> None:
    """For as many windows more as its update may be stale."""
    assert read(least(window="deadline_s = 6.0")).window.grace_s == 0
    lines = '"buffered"\ndeadline_s = 6.0\nmax_staleness = 3'
    assert read(changed('"rounds"', lines)).window.grace_s == 18


# Digest ---------------------------------------------------------------------------------------------------------------


def test_the_digest_of_a_plan_stays_what_it_was() -> None:
    """Devices sign it and manifests name it: if this changes, every federation has a new plan."""
    assert read().digest.hex() == DIGEST


def test_the_canonical_form_has_sorted_keys_and_no_spaces() -> None:
    canonical = read().canonical
    tree = json.loads(canonical)
    assert json.dumps(tree, sort_keys=True, separators=(",", ":")).replace("1e-05", "0.00001").encode() == canonical


def test_the_order_of_the_text_and_its_comments_change_nothing() -> None:
    head, *tables = LEAST.split("\n[")
    turned = "\n[".join([head, *reversed(tables)]) + "\n# a comment"
    assert read(turned).digest == read().digest


@pytest.mark.parametrize(
    "text",
    [
        least(train="epochs = 3"),
        least(window="deadline_s = 60.5"),
        least(update="bits = 4"),
        least(judge="scores = []"),
        changed('"watch-har"', '"watch-hra"'),
    ],
)
def test_another_setting_is_another_digest(text: str) -> None:
    assert read(text).digest != read().digest


def test_another_model_is_another_digest() -> None:
    assert from_toml(LEAST, MODEL[:-1] + b"\1").digest != read().digest


SETTINGS = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["C"])),
)


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,20}", fullmatch=True), SETTINGS | st.lists(SETTINGS), max_size=5))
def test_the_canonical_form_is_the_plan(train: dict[str, Any]) -> None:
    plan = read(
        least(train="\n".join(f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in train.items()))
    )
    assert plan.train == train
    found = from_canonical(plan.canonical)
    assert found == plan
    assert found.digest == plan.digest


# Refusals -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ["window", "judge", "release"])
def test_an_unknown_key_is_refused_and_the_nearest_one_named(table: str) -> None:
    known = TABLES[table].__struct_fields__[0]
    with pytest.raises(Misconfigured, match=rf"\[{table}\] knows no '{known}x'; did you mean '{known}'\?"):
        read(least(**{table: f"{known}x = 1"}))


def test_an_unknown_key_that_is_like_none_is_answered_with_all() -> None:
    with pytest.raises(Misconfigured, match=r"\[release\] knows no 'zzz'; known are every, expires_h"):
        read(least(release="zzz = 1"))


def test_an_unknown_table_is_refused_and_the_nearest_one_named() -> None:
    with pytest.raises(Misconfigured, match=r"knows no 'windows'; did you mean 'window'\?"):
        read(changed("[window]", "[windows]"))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (changed("quorum = 8", "quorum = 13"), r"window\.quorum 13 is more than window\.goal 12"),
        (changed("quorum = 8", "quorum = 7"), r"window\.quorum 7 is less than privacy\.minimum_crowd 8"),
        (least(privacy="minimum_crowd = 9"), r"window\.quorum 8 is less than privacy\.minimum_crowd 9"),
        (
            changed('"rounds"', '"buffered"\nlate = "refuse"'),
            r"window\.late 'refuse' beside window\.mode 'buffered': .* use 'fold', or window\.mode 'rounds'",
        ),
        (
            changed('"rounds"', '"buffered"\ndeadline_s = 1e12\nmax_staleness = 2'),
            r"window\.deadline_s × window\.max_staleness is 2e\+12 s",
        ),
        (least(combine='weight = "examples"'), r"combine\.weight 'examples' is refused: .* set update\.examples"),
    ],
)
def test_a_contradiction_is_refused_by_its_names(text: str, named: str) -> None:
    with pytest.raises(Misconfigured, match=named):
        read(text)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (changed("schema = 1", "schema = 2"), r"\$\.schema"),
        (changed('"watch-har"', '"watch/har"'), r"\$\.federation"),
        (changed("goal = 12", "goal = 0"), r"\$\.window\.goal"),
        (changed("goal = 12", "goal = 12.0"), r"\$\.window\.goal"),
        (changed("goal = 12", "goal = true"), r"\$\.window\.goal"),
        (changed('"rounds"', '"steady"'), r"\$\.window\.mode"),
        (least(window="deadline_s = nan"), "window: deadline_s is a finite number"),
        (least(window="deadline_s = inf"), "window: deadline_s is a finite number"),
        (least(window="deadline_s = 0"), r"\$\.window\.deadline_s"),
        (least(privacy="delta = 1.0"), r"\$\.privacy\.delta"),
        (least(privacy="delta = 0.0"), r"\$\.privacy\.delta"),
        (least(privacy="device_budget = -1"), r"\$\.privacy\.device_budget"),
        (least(release="every = 2"), r"\$\.release\.every"),
        (least(judge="scores = ['a b']"), r"\$\.judge\.scores"),
        (changed('"hadamard"', "3"), r"\$\.update\.codec\.name"),
        (changed('[select]\npolicy = "uniform"\n', ""), "select"),
        (changed("[train]\n", ""), "train"),
        (least(train="x = [[1]]"), r"\$\.train"),
        (least(train="x = 2026-11-24"), r"\$\.train"),
        (changed("[window]", "[[window]]"), r"\[window\] is a table"),
        ("schema = ", "no TOML"),
    ],
)
def test_what_is_missing_or_out_of_bounds_is_refused_by_its_name(text: str, where: str) -> None:
    with pytest.raises(Misconfigured, match=where):
        read(text)


@pytest.mark.parametrize("table", ["window", "update", "combine", "privacy"])
def test_a_missing_table_is_refused_by_its_name(table: str) -> None:
    start = LEAST.index(f"[{table}]")
    end = LEAST.find("\n[", start)
    with pytest.raises(Misconfigured, match=table):
        read(LEAST[:start] + (LEAST[end + 1 :] if end >= 0 else ""))


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("table", ["train", "update"])
def test_a_setting_that_json_cannot_say_is_refused(table: str, number: str) -> None:
    with pytest.raises(Misconfigured):
        read(least(**{table: f"x = {number}"}))


@pytest.mark.parametrize("body", [b"", b"{}", b"\xff", b"null", b'{"schema":2}'])
def test_a_canonical_form_that_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(Misconfigured, match="no plan of schema 1"):
        from_canonical(body)


# The model ------------------------------------------------------------------------------------------------------------


def test_tensors_come_in_the_order_in_which_they_lie_in_the_file() -> None:
    header = {
        "__metadata__": {"made": "by hand"},
        "a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [8, 24]},
        "b": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "c": {"dtype": "F32", "shape": [], "data_offsets": [24, 28]},
    }
    model = by_hand(header, size=28)
    assert layout.tensors(model) == [("b", (2,)), ("a", (2, 2)), ("c", ())]
    assert plans.parameters(model) == 7


@given(st.dictionaries(st.text("abc", min_size=1), st.lists(st.integers(1, 4), max_size=3), min_size=1, max_size=4))
def test_the_parameters_are_all_the_numbers_of_the_model(shapes: dict[str, list[int]]) -> None:
    model = bytes(save({name: np.zeros(shape, np.float32) for name, shape in shapes.items()}))
    assert plans.parameters(model) == sum(math.prod(shape) for shape in shapes.values())
    assert {name: list(shape) for name, shape in layout.tensors(model)} == shapes


@pytest.mark.parametrize(
    "model",
    [b"", b"\xff" * 8, b"\x02" + bytes(7) + b"{}", bytes(save({"w": np.zeros(2)})), b"\x04" + bytes(7) + b"null"],
)
def test_a_model_that_is_no_file_of_32_bit_floats_is_refused(model: bytes) -> None:
    with pytest.raises(Misconfigured, match="the plan's model"):
        from_toml(LEAST, model)
