"""Find a plug-in by the name that a plan gives it: in our own tree first, then among what installed packages offer.

A package offers a plug-in by an entry point in the group of its kind, `mizzle.codecs`, `mizzle.mechanisms`,
`mizzle.policies`, `mizzle.scores` or `mizzle.strategies`, under the name that plans give it. A name of ours cannot be
taken over: whoever reads a plan knows what "gaussian" is.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Final

import msgspec

from mizzle.errors import Misconfigured

if TYPE_CHECKING:
    from mizzle.plan import PlugIn

_PARAMS: Final = "__dataclass_params__"


def plug_in(folder: str, wanted: PlugIn) -> Any:  # noqa: ANN401  # the caller names the Protocol
    """The plug-in `wanted`, a frozen dataclass of the kind whose own plug-ins lie in the package `folder`.

    Raises:
        Misconfigured: there is no such plug-in, its package cannot be loaded, it is no frozen dataclass, or its fields
            do not take what the plan gives.
    """
    return _made(folder, wanted.name, msgspec.json.encode(wanted.fields, order="sorted"))


def forget() -> None:
    """Look again when a plug-in is asked for next: packages have come or gone since."""
    _made.cache_clear()
    _kind.cache_clear()


@functools.cache
def _made(folder: str, name: str, fields: bytes) -> Any:  # noqa: ANN401  # as above
    """One for each set of fields, for good: a plug-in is frozen, and is asked for with every update."""
    kind, given = _kind(folder, name), msgspec.json.decode(fields)
    known = {field.name for field in dataclasses.fields(kind)}
    if strange := sorted(given.keys() - known):
        near = difflib.get_close_matches(strange[0], known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it knows {', '.join(sorted(known)) or 'no fields'}"
        raise Misconfigured(f"plug-in {name!r} knows no {strange[0]!r}; {hint}")
    try:
        return msgspec.convert(given, kind, strict=False)
    except (msgspec.ValidationError, TypeError) as error:  # TypeError: a field of a type that no plan can give
        raise Misconfigured(f"plug-in {name!r} does not take these fields: {error}") from error


@functools.cache
def _kind(folder: str, name: str) -> type[Any]:
    """Ours is the dataclass of the same name in the file of the same name; theirs is what the entry point names."""
    module = f"{folder}.{name.replace('-', '_')}"
    try:
        ours = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        return _from_a_package(folder, name)
    found: type[Any] | None = getattr(ours, "".join(word.title() for word in name.replace("-", "_").split("_")), None)
    return found or _from_a_package(folder, name)


def _from_a_package(folder: str, name: str) -> type[Any]:
    group = f"mizzle.{folder.rpartition('.')[2]}"
    offers = list(entry_points(group=group, name=name))
    if len(offers) > 1:
        values = ", ".join(offer.value for offer in offers)
        raise Misconfigured(f"several packages offer a plug-in {name!r} in {group}: {values}; remove all but one")
    if not offers:
        raise Misconfigured(
            f"there is no plug-in {name!r} in {folder.replace('.', '/')}/, and no installed package offers one in the"
            f" entry-point group {group}"
        )
    return _loaded(offers[0])


def _loaded(offer: EntryPoint) -> type[Any]:
    """The class that an entry point names."""
    package = offer.dist.name if offer.dist else "of an unknown name"
    where = f"plug-in {offer.name!r} (entry point {offer.value!r} in {offer.group}, of the package {package})"
    try:
        found: Any = offer.load()
    except (Exception, SystemExit) as error:  # to import somebody's package is to run it, so it may raise anything
        text = f"{where} cannot be loaded, {type(error).__name__}: {error}"
        raise Misconfigured(f"{text}; mend or update {package}, or name another plug-in in the plan") from error
    if not is_frozen(found):
        raise Misconfigured(f"{where} is to be a frozen dataclass, so that it remembers nothing; it is {found!r}")
    return found  # type: ignore[no-any-return]  # is_frozen has looked


def is_frozen(found: object) -> bool:
    """Whether this is a frozen dataclass: what is made of it is settings, and nothing that changes."""
    return isinstance(found, type) and dataclasses.is_dataclass(found) and getattr(found, _PARAMS).frozen
