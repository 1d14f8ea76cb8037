"""Some value of any of our types, within its bounds: what hypothesis needs to try every message there is."""

from typing import Any, get_args

from hypothesis import strategies as st
from msgspec import inspect

from mizzle.messages import BetweenServices, FromDevice, Message, ToDevice

NAMES = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a type that a message's field may have."""
    return _values(inspect.type_info(kind))


def messages(union: Any) -> st.SearchStrategy[Message]:
    """Messages of any type in a union."""
    return st.one_of([values(kind) for kind in get_args(union)])


def _values(kind: inspect.Type) -> st.SearchStrategy[Any]:  # noqa: C901  # a type, a line
    match kind:
        case inspect.Metadata(type=below):
            return _values(below)
        case inspect.NoneType():
            return st.none()
        case inspect.BoolType():
            return st.booleans()
        case inspect.IntType(ge=least, le=most):
            return st.integers(least, most)
        case inspect.FloatType(ge=least, le=most):
            return st.floats(least, most)
        case inspect.BytesType(min_length=least, max_length=most):
            return st.binary(min_size=least or 0, max_size=min(most or 0, 200))
        case inspect.StrType(pattern=None, max_length=most):
            return st.text(max_size=most)
        case inspect.StrType():
            return NAMES
        case inspect.LiteralType(values=words):
            return st.sampled_from(words)
        case inspect.VarTupleType(item_type=item):
            return st.lists(_values(item), max_size=3).map(tuple)
        case inspect.UnionType(types=kinds):
            return st.one_of([_values(below) for below in kinds])
        case inspect.StructType(cls=struct, fields=fields):
            return st.builds(struct, **{field.name: _values(field.type) for field in fields})
    raise NotImplementedError(f"no message had a {kind} so far")


FROM_DEVICE = messages(FromDevice)
TO_DEVICE = messages(ToDevice)
BETWEEN_SERVICES = messages(BetweenServices)
