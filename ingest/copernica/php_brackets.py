"""PHP's brackets: `fields[email]=x` is a map, `tags[]=a` and `tags[0]=a` are lists, and they may nest.

Names that PHP would not read as they were written (`a=1&a[b]=2`, an index twice, lists of maps without indexes)
stay as sent. So whatever arrives, each value can be found again.
"""

from functools import lru_cache
from typing import Any

#: Most levels of brackets that are read as such; PHP's own limit is 64, Copernica uses two.
MAX_LEVELS = 16
#: Sets of names whose meaning is remembered, since bodies use the same few.
REMEMBERED = 512
#: Most characters and brackets of a set that is remembered: anyone may send others, and memory is limited.
MAX_CHARACTERS, MAX_BRACKETS = 2000, 128

#: Most brackets that are read as such in all names of a body, each of which costs some 250 bytes; and most
#: characters of such a name.
MAX_NESTED, MAX_NAME = 10_000, 65_536

#: What is in a name's brackets, from left to right; the last is empty for a list that numbers itself.
Keys = tuple[str, ...]
#: What names form together: each name is where its value belongs, in a tuple if it is a whole list by itself.
Shape = str | tuple[str] | list["Shape"] | dict[str, "Shape"]


def nest(fields: dict[str, Any], bracketed: tuple[str, ...], regular: bool = True) -> tuple[dict[str, Any], bool]:
    """Turn the fields whose names are `bracketed` into lists and maps, in place.

    Also returns whether everything is as PHP reads it: the brackets, and (`regular`) what the caller has read.
    """
    few = sum(map(len, bracketed)) <= MAX_CHARACTERS and "".join(bracketed).count("[") <= MAX_BRACKETS
    if not few and sum(name.count("[") for name in bracketed) > MAX_NESTED:
        return fields, False
    for root, shape in (_shapes if few else _shapes.__wrapped__)(bracketed):
        if shape is None or root in fields or not (regular or _each_once(shape, fields)):
            regular = False
        else:
            fields[root] = _filled(shape, fields)
    return fields, regular


def _filled(shape: Shape, fields: dict[str, Any]) -> Any:
    if type(shape) is str:
        return fields.pop(shape)
    if isinstance(shape, list):
        return [_filled(inner, fields) for inner in shape]
    if isinstance(shape, dict):
        return {key: _filled(inner, fields) for key, inner in shape.items()}
    value = fields.pop(shape[0])
    return value if isinstance(value, list) else [value]


def _each_once(shape: Shape, fields: dict[str, Any]) -> bool:
    """Whether no name occurred twice, apart from those of lists that number themselves."""
    if isinstance(shape, str):
        return not isinstance(fields[shape], list)
    inner = shape.values() if isinstance(shape, dict) else shape
    return isinstance(shape, tuple) or all(_each_once(each, fields) for each in inner)


@lru_cache(REMEMBERED)
def _shapes(names: tuple[str, ...]) -> list[tuple[str, Shape | None]]:
    """What names form together, by their roots; None if PHP would read something other than was written."""
    roots: dict[str, dict[Keys, str]] = {}
    for name in names:
        root, keys = _split(name)
        if keys:
            roots.setdefault(root, {})[keys] = name
    return [(root, _shape(members)) for root, members in roots.items()]


def _split(name: str) -> tuple[str, Keys]:
    """The root of a name and its keys; brackets that are not PHP's are ordinary letters of the root."""
    if len(name) > MAX_NAME:
        return name, ()
    root, bracket, rest = name.partition("[")
    if not bracket or not root or not rest.endswith("]"):
        return name, ()
    keys = rest[:-1].split("][")
    if len(keys) > MAX_LEVELS or any("[" in key or "]" in key for key in keys):
        return name, ()
    return root, tuple(keys)


def _shape(members: dict[Keys, str]) -> Shape | None:
    if len(members) == 1 and () in members:
        return members[()]
    if len(members) == 1 and ("",) in members:
        return (members[("",)],)
    if () in members or not all(keys[0] for keys in members):
        return None
    branches: dict[str, dict[Keys, str]] = {}
    for keys, name in members.items():
        branches.setdefault(keys[0], {})[keys[1:]] = name
    shapes: dict[str, Shape] = {}
    for key, branch in branches.items():
        shape = _shape(branch)
        if shape is None:
            return None
        shapes[key] = shape
    if list(shapes) == [str(place) for place in range(len(shapes))]:
        return list(shapes.values())
    return shapes
