"""The rules that the files of Mizzle keep, each a function from a file's text to the places that break it.

Imports run one way: services/x/__main__ → services/x/verb → the pure files of `mizzle`. The services stand on a ground:
services.ledger, services.pipeline, services.runtime. A pure file is given its time, chance and bytes; in the library
only `mizzle.transport` goes and gets them. No rule reads a disk or runs what it judges: each can be shown a text that
breaks it.
"""

import ast
import graphlib
import re
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatch
from itertools import product

from tests.sources import Source, Use, calls, functions, imports, is_under, uses

OURS = ("bench", "examples", "mizzle", "services", "tests")
GROUND = ("services.ledger", "services.pipeline", "services.runtime")
VERBS = (
    "services.aggregator.combine",
    "services.anomaly_detector.judge",
    "services.gateway.receive",
    "services.privacy_accountant.charge",
    "services.releaser.release",
    "services.selector.invite",
)
PLUG_INS = tuple(
    f"{verb.rpartition('.')[0]}.{folder}" for verb, folder in product(VERBS, ("policies", "scores", "strategies"))
)
SHELLS = ("mizzle.cli", "mizzle.device", "mizzle.failpoints", "mizzle.releases", "mizzle.transport")
"""What of the library may act; all else in it is pure."""
PURE_WITHIN = (
    *(f"mizzle.device.{name}" for name in ("belief", "diary", "effects", "enrol", "events", "fitness")),
    *(f"mizzle.device.{name}" for name in ("session", "speech", "states", "work")),
    "mizzle.transport.bus",
    "services.aggregator.gathering",
    "services.aggregator.succession",
    "services.gateway.allowance",
    "services.privacy_accountant.folding",
)
"""What is pure beside what acts: the session and what it stands on, a bus's words, sum and model, what may be said."""

SOCKETS = (
    "asyncio.open_connection",
    "asyncio.start_server",
    "http.client",
    "http.server",
    "httpx",
    "paho",
    "requests",
    "select",
    "selectors",
    "socket",
    "socketserver",
    "ssl",
    "urllib.request",
)
STORES = ("redis", "sqlalchemy", "valkey")
CLOCKS = (
    "datetime.date.today",
    "datetime.datetime.now",
    "datetime.datetime.today",
    "datetime.datetime.utcnow",
    "time",
)
CHANCE = (
    "nacl.public.PrivateKey.generate",
    "nacl.signing.SigningKey.generate",
    "nacl.utils.random",
    "random",
    "secrets",
    "uuid.uuid1",
    "uuid.uuid4",
)
SYSTEM = (
    "asyncio",
    "concurrent",
    "logging",
    "multiprocessing",
    "os",
    "signal",
    "sqlite3",
    "structlog",
    "subprocess",
    "tempfile",
    "threading",
)
REPEATS = ("BitGenerator", "Generator", "PCG64", "Philox", "SeedSequence", "default_rng")
"""What numpy.random has that gives the same again, once it gets a seed."""
PICKLES = ("_pickle", "cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve", "torch.load")
VAGUE = re.compile(r"(?<![a-z])(base|common|core|data|handlers?|helpers?|info|managers?|misc|utils?)(?![a-z])")
TOP = frozenset({
    *(".ci", ".git", ".gitignore"),
    *("bench", "broker_config", "docs", "examples", "mizzle", "schemas", "services", "tests"),
    *("Makefile", "constraints.txt", "docker-compose.yml", "pyproject.toml"),
    *("ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md"),
})  # fmt: skip
LONGEST = 60
Rule = Callable[[Source], list[str]]


def goes_the_wrong_way(source: Source) -> list[str]:
    """Imports of our own files that a file of this layer may not have."""
    return [
        source.place(use.line, f"{source.module} may not import {use.name}")
        for use in imports(source)
        if is_under(use.name, OURS) and ("__main__" in use.name.split(".") or not may_import(source.module, use.name))
    ]


def is_impure(source: Source) -> list[str]:
    """What a pure file takes from the world: it is to be given it, as an event, an argument or state."""
    if not is_pure(source.module):
        return []
    world = (*SOCKETS, *STORES, *CLOCKS, *CHANCE, *SYSTEM)
    taken = {use for use in uses(source) if is_under(use.name, world)}
    return [
        source.place(use.line, f"{use.name} in a pure file: let the caller pass what it gives")
        for use in sorted({*taken, *unseeded(source)})
    ]


def bypasses_transport(source: Source) -> list[str]:
    """Sockets and clocks in the library but outside its transport, SQLite outside the outbox, any server's store."""
    if not is_under(source.module, ("mizzle",)):
        return []
    world = list(STORES)
    if not is_under(source.module, ("mizzle.transport",)):
        world += [*SOCKETS, *CLOCKS]
    if source.module != "mizzle.device.outbox":
        world += ["sqlite3"]
    return [
        source.place(use.line, f"{use.name} belongs in mizzle/transport (SQLite: in the outbox; stores: in services)")
        for use in uses(source)
        if is_under(use.name, world)
    ]


def unpickles(source: Source) -> list[str]:
    """Ways to run what somebody wrote into a file, in the library or a service."""
    if not is_under(source.module, ("mizzle", "services")):
        return []
    loaded = {use for use in uses(source) if is_under(use.name, PICKLES)}
    allowed = {
        Use(node.value.lineno, "allow_pickle")
        for node in ast.walk(source.tree)
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and not is_constant(node.value, value=False)
    }
    return [source.place(use.line, f"{use.name} runs what it reads") for use in sorted(loaded | allowed)]


def swallows_everything(source: Source) -> list[str]:
    """Places that catch every exception, on a line whose comment does not say why."""
    lines = source.text.splitlines()
    return [
        source.place(line, "catches everything, and no comment on the line says why")
        for line in sorted(broad_catches(source.tree))
        if not gives_a_reason(lines[line - 1])
    ]


def has_a_long_function(source: Source) -> list[str]:
    """Functions that do not fit on a screen."""
    return [
        source.place(line, f"{name} has {length} lines; cut it into steps of at most {LONGEST}")
        for line, name, length in functions(source)
        if length > LONGEST
    ]


def has_a_vague_name(source: Source) -> list[str]:
    """Words in the path that would fit any file."""
    return [source.place(1, f"'{word}' says nothing about what is in it") for word in VAGUE.findall(source.path)]


RULES: tuple[Rule, ...] = (
    goes_the_wrong_way,
    is_impure,
    bypasses_transport,
    unpickles,
    swallows_everything,
    has_a_long_function,
    has_a_vague_name,
)


def is_pure(name: str) -> bool:
    """Whether `name` is in a file that may take nothing from the world."""
    acts = name == "mizzle" or is_under(name, SHELLS)
    return is_under(name, (*PURE_WITHIN, *VERBS, *PLUG_INS)) or (is_under(name, ("mizzle",)) and not acts)


def may_import(module: str, name: str) -> bool:
    """Whether the layer that `module` is in may know `name`, which is one of ours."""
    match module.split("."):
        case [_, service, *_] if is_pure(module):
            return is_pure(name) and is_under(name, ("mizzle", f"services.{service}"))
        case ["mizzle", *_]:
            return is_under(name, ("mizzle",))
        case ["services", *_] if is_under(module, GROUND):
            return is_under(name, ("mizzle", *GROUND))
        case ["services", "local", *_]:
            return is_under(name, ("mizzle", *GROUND, "services.local", "examples"))
        case ["services", "operator", *_]:  # people's commands in one place; it serves nothing itself
            return is_under(name, ("mizzle", *GROUND, "services.operator", "services.doctor"))
        case ["services", service, *_]:
            return is_under(name, ("mizzle", *GROUND, f"services.{service}"))
        case ["examples", "judge", *_]:  # it knows the promises alone, and shares no code with what it judges
            return is_under(name, ("examples.judge",))
        case ["examples", *_]:
            return is_under(name, ("mizzle", "examples"))
        case _:
            return is_under(module, ("bench", "tests"))


def unseeded(source: Source) -> Iterator[Use]:
    """Uses of numpy.random that never repeat: its global functions, and generators that get no seed."""
    for use in uses(source):
        if use.name.startswith("numpy.random.") and use.name.split(".")[2] not in REPEATS:
            yield use
    for use, arguments in calls(source):
        if use.name.startswith("numpy.random.") and all(is_constant(seed, value=None) for seed in arguments):
            yield Use(use.line, f"{use.name} without a seed")


def is_constant(node: ast.expr, *, value: object) -> bool:
    """Whether `node` is this very constant."""
    return isinstance(node, ast.Constant) and node.value is value


def broad_catches(tree: ast.Module) -> Iterator[int]:
    """The lines that catch Exception, BaseException or anything at all."""
    for node in ast.walk(tree):
        match node:
            case ast.ExceptHandler(type=None):
                yield node.lineno
            case ast.ExceptHandler(type=ast.expr() as kind) if catches_all(kind):
                yield node.lineno
            case ast.Call(func=ast.Name(id="suppress") | ast.Attribute(attr="suppress"), args=kinds):
                yield from (kind.lineno for kind in kinds if catches_all(kind))


def catches_all(kind: ast.expr) -> bool:
    """Whether one of the types caught is the root of them all."""
    return any(isinstance(node, ast.Name) and node.id in {"BaseException", "Exception"} for node in ast.walk(kind))


def gives_a_reason(line: str) -> bool:
    """Whether the line's comment has three words at least, beside the linter's codes."""
    comment = re.sub(r"(noqa|type: ignore)\S*( [A-Z]+\d+,?)*", "", line.partition("#")[2])
    return len(re.findall(r"[^\W\d_]{2,}", comment)) >= 3


def percentile_95(lengths: Iterable[int]) -> int:
    """The length that 95 of 100 do not exceed, by nearest rank; 0 if there are none."""
    ranked = sorted(lengths)
    return ranked[-(-95 * len(ranked) // 100) - 1] if ranked else 0


def strangers(names: Iterable[str], ignored: Iterable[str]) -> list[str]:
    """Names at the top of the tree that DESIGN 9 does not put there and .gitignore does not hide."""
    hidden = [line.strip().strip("/") for line in ignored]
    return sorted(name for name in set(names) - TOP if not any(fnmatch(name, pattern) for pattern in hidden))


def import_cycle(sources: Iterable[Source]) -> list[str]:
    """Modules that import each other in a circle, the first again at the end; empty if all imports run one way."""
    known = {source.module: source for source in sources}
    needs = {
        module: sorted({home_of(use.name, known) for use in imports(source)} - {module, ""})
        for module, source in known.items()
    }
    try:
        graphlib.TopologicalSorter(needs).prepare()
    except graphlib.CycleError as error:
        return [str(module) for module in error.args[1]]
    return []


def home_of(name: str, modules: Iterable[str]) -> str:
    """The module that `name` is found in, which is the longest it lies under; empty if it is none of ours."""
    return max((module for module in modules if is_under(name, (module,))), key=len, default="")
