"""Every word by which the sources say why is explained."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, get_args, get_type_hints

import pytest

from mizzle.messages import Halt
from mizzle.reasons import CONTENT, REASONS, Kind, countable, explained, similar, words
from tests.sources import Source

TREE = Path(__file__).parents[2]
SCORES = TREE / "services" / "anomaly_detector" / "scores"

SAID_BY: Final[dict[str, tuple[Kind, int | None]]] = {
    "Finding": ("receipt", 0),
    "Refuse": ("receipt", 0),
    "Refusal": ("receipt", None),
    "Refused": ("receipt", 0),
    "refuse": ("receipt", 1),
    "Decline": ("decline", 0),
    "Declined": ("decline", 1),
    "decline": ("decline", 2),
    "Taken": ("delivery", None),
    "Unauthenticated": ("delivery", None),
    "_unauthenticated": ("delivery", 1),
    "halt": ("halt", 2),
}
"""Who says a reason, of which kind, and which of its arguments it is; as a keyword it is called `reason` everywhere."""

GIVE_DECLINES: Final = frozenset({"_hindrance", "_unfit", "unfit"})
"""Functions that give the word of a decline."""

STATUS: Final = re.compile(
    r"OK|FAILED|USAGE|CONFIGURATION|MISCONFIGURED|NOT_FOUND|UNREACHABLE|PRIVACY_REFUSED|UNVERIFIED|UNHEALTHY"
)


def said(source: Source) -> Iterator[tuple[Kind, str]]:
    """Every reason that a file says in so many words."""
    for node in ast.walk(source.tree):
        match node:
            case ast.Call(func=ast.Name(id="Finding")) if "anomaly_detector" not in source.path:
                pass  # a doctor's, who gives no reasons
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in SAID_BY:
                kind, place = SAID_BY[name]
                arguments = [keyword.value for keyword in node.keywords if keyword.arg == "reason"]
                arguments += [] if place is None else node.args[place : place + 1]
                yield from ((kind, word) for argument in arguments for word in texts(argument))
            case ast.FunctionDef(name=name) if name in GIVE_DECLINES:
                returned = (found.value for found in ast.walk(node) if isinstance(found, ast.Return) and found.value)
                yield from (("decline", word) for value in returned for word in texts(value))


def texts(node: ast.expr) -> Iterator[str]:
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.IfExp(body=one, orelse=other):
            yield from (*texts(one), *texts(other))
        case ast.BoolOp(values=values):
            yield from (text for value in values for text in texts(value))


def statuses(source: Source) -> Iterator[str]:
    """Every exit status that a file gives a name."""
    for node in source.tree.body:
        match node:
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.Constant(value=int(status))):
                yield from [str(status)] if STATUS.fullmatch(name) else []
            case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)):
                pairs = zip(names, values, strict=True)
                yield from (
                    str(ast.literal_eval(value)) for name, value in pairs if STATUS.fullmatch(ast.unparse(name))
                )
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=int(status))):
                yield from [str(status)] if STATUS.fullmatch(name) else []


def product() -> Iterator[Source]:
    for folder in ("mizzle", "services"):
        for path in sorted((TREE / folder).rglob("*.py")):
            yield Source(path.relative_to(TREE).as_posix(), path.read_text(encoding="utf-8"))


def test_every_reason_in_the_sources_is_explained() -> None:
    found = {reason for source in product() for reason in said(source)}
    found |= {("receipt", path.stem) for path in SCORES.glob("[a-z]*.py")}
    found |= {("receipt", outcome) for outcome in ("counted", "abandoned")}
    found |= {("halt", reason) for reason in get_args(get_type_hints(Halt)["reason"])}
    known = {kind: words(kind) for kind, _ in found}
    known["delivery"] |= known["receipt"]  # what was not taken may get a receipt that says why
    assert {(kind, word) for kind, word in found if word not in known[kind]} == set()
    assert {
        ("receipt", "stale"),
        ("receipt", "shape"),
        ("decline", "heat"),
        ("delivery", "payload"),
        ("halt", "budget"),
    } <= found


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("return Refuse('moon', 'it is full')", ("receipt", "moon")),
        ("Refusal(id=id, update=update, sealed=sealed, reason='moon')", ("receipt", "moon")),
        ("page.refuse(row, 'moon')", ("receipt", "moon")),
        ("raise Decline('moon')", ("decline", "moon")),
        ("def unfit(a):\n    return 'moon' if a else None", ("decline", "moon")),
        ("_unauthenticated(device, 'moon', why)", ("delivery", "moon")),
    ],
)
def test_a_new_reason_is_noticed(text: str, reason: tuple[Kind, str]) -> None:
    assert list(said(Source("services/x.py", text))) == [reason]


def test_every_exit_status_is_explained() -> None:
    found = {status for source in product() for status in statuses(source)}
    assert {"0", "1", "2", "3", "4", "6", "7", "9", "10"} <= found
    assert found | {str(status) for status in range(11)} == words("exit")


def test_every_explanation_says_something_of_its_own_and_ends_its_sentences() -> None:
    assert len({(reason.kind, reason.code) for reason in REASONS}) == len(REASONS)
    assert [reason for reason in REASONS if not (reason.what.endswith(".") and reason.why.endswith("."))] == []
    assert [reason for reason in REASONS if not reason.do] == []


def test_a_word_of_two_meanings_gives_both() -> None:
    assert [reason.kind for reason in explained("late")] == ["receipt", "decline"]
    assert explained("moon") == ()
    assert similar("unknown-windw")[0] == "unknown-window"


@pytest.mark.parametrize(
    ("refused", "shown"),
    [("norm", "norm"), ("late", "late"), ("history", CONTENT), ("a-score-of-others", CONTENT)],
)
def test_what_an_honest_devices_contents_decide_is_counted_under_one_word(refused: str, shown: str) -> None:
    assert countable(refused) == shown
