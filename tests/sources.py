"""What a Python file names, read from its text: imports, and what is reached through them, written out in full."""

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Source:
    """A Python file: where it lies in the tree, with slashes, and its text."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """What the text says."""
        return ast.parse(self.text, self.path)

    @property
    def module(self) -> str:
        """The dotted name it is imported by; a package's `__init__.py` is the package."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def package(self) -> str:
        """The package that its relative imports start from."""
        return self.module if self.path.endswith("__init__.py") else self.module.rpartition(".")[0]

    def place(self, line: int, fault: str) -> str:
        """A fault, with where it is."""
        return f"{self.path}:{line}: {fault}"


@dataclass(frozen=True, order=True)
class Use:
    """Something from elsewhere that a file names, whatever the file calls it."""

    line: int
    name: str


def imports(source: Source) -> Iterator[Use]:
    """Everything the file imports, wherever in it, also by `import_module("…")`."""
    for node in ast.walk(source.tree):
        match node:
            case ast.Import(names=names):
                yield from (Use(node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(names=names):
                origin = absolute(source, node)
                yield from (Use(node.lineno, f"{origin}.{alias.name}".removesuffix(".*")) for alias in names)
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield Use(node.lineno, name)


def uses(source: Source) -> list[Use]:
    """What the file imports and what it reaches through that: `clock.now` may be datetime.datetime.now."""
    bound = bindings(source)
    reached = (
        Use(node.lineno, name)
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Attribute) and (name := full_name(node, bound))
    )
    return sorted({*imports(source), *reached})


def calls(source: Source) -> Iterator[tuple[Use, list[ast.expr]]]:
    """Every call of something imported, with its arguments."""
    bound = bindings(source)
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and (name := full_name(node.func, bound)):
            yield Use(node.lineno, name), [*node.args, *(keyword.value for keyword in node.keywords)]


def bindings(source: Source) -> dict[str, str]:
    """What each imported word stands for: `from datetime import datetime as clock` makes clock datetime.datetime."""
    bound: dict[str, str] = {}
    for node in ast.walk(source.tree):
        match node:
            case ast.Import(names=names):
                # `import a.b` binds a to a, `import a.b as c` binds c to a.b
                bound |= {top: top for alias in names if (top := alias.name.partition(".")[0])}
                bound |= {alias.asname: alias.name for alias in names if alias.asname}
            case ast.ImportFrom(names=names):
                origin = absolute(source, node)
                bound |= {alias.asname or alias.name: f"{origin}.{alias.name}" for alias in names}
    return bound


def absolute(source: Source, node: ast.ImportFrom) -> str:
    """The module that `from … import` starts from, the dots at its front counted off."""
    if not node.level:
        return node.module or ""
    parts = source.package.split(".")
    return ".".join([*parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])])


def full_name(node: ast.expr, bound: Mapping[str, str]) -> str:
    """The dotted name of `node` with its first word replaced by what was imported as that; empty if nothing was."""
    match node:
        case ast.Name(id=word):
            return bound.get(word, "")
        case ast.Attribute(value=value, attr=attribute):
            name = full_name(value, bound)
            return f"{name}.{attribute}" if name else ""
        case _:
            return ""


def functions(source: Source) -> Iterator[tuple[int, str, int]]:
    """Line, name and number of lines of each function, from `def` to its end."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.lineno, node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def is_under(name: str, roots: Iterable[str]) -> bool:
    """Whether the dotted `name` is one of `roots` or lies in one."""
    return any(name == root or name.startswith(f"{root}.") for root in roots)
