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
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import msgspec

from mizzle.errors import Misconfigured

if TYPE_CHECKING:
    from mizzle.plan import PlugIn


def plug_in(folder: str, wanted: PlugIn) -> Any:  # noqa: ANN401  # the caller names the Protocol
    """The plug-in `wanted`, a frozen dataclass of the kind whose own plug-ins lie in the package `folder`.

    Raises:
        Misconfigured: there is no such plug-in, or its fields do not take what the plan gives.
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
    except msgspec.ValidationError as error:
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
    found: type[Any] = getattr(ours, "".join(word.title() for word in name.replace("-", "_").split("_")))
    return found


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
    found: Any = offers[0].load()
    if not (isinstance(found, type) and dataclasses.is_dataclass(found)):
        raise Misconfigured(f"plug-in {name!r} is to be a frozen dataclass; {offers[0].value} is {found!r}")
    return found
