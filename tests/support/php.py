"""What PHP's own functions make of names with brackets, to compare with."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

Pairs = list[tuple[str, str]]


def written(value: Any, name: str = "") -> Pairs:
    """The pairs that PHP's `http_build_query` makes of lists, maps and texts."""
    if isinstance(value, str):
        return [(name, value)]
    items = enumerate(value) if isinstance(value, list) else value.items()
    return [pair for key, inner in items for pair in written(inner, f"{name}[{key}]" if name else str(key))]


def php(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """What PHP's `parse_str` makes of pairs; what counts from 0 is a list, as in its `json_encode`."""
    tree: dict[str, Any] = {}
    for name, value in pairs:
        node, key = tree, name.partition("[")[0]
        for inner in re.findall(r"\[([^]]*)\]", name):
            if not isinstance(node.get(key), dict):
                node[key] = {}
            node = node[key]
            key = inner or str(1 + max((int(place) for place in node if place.isdecimal()), default=-1))
        node[key] = value
    return {name: _with_lists(value) for name, value in tree.items()}


def _with_lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    inner = {key: _with_lists(each) for key, each in value.items()}
    return list(inner.values()) if counts(inner) else inner


def leaves(value: Any) -> Iterator[str]:
    """Every text in lists and maps."""
    if isinstance(value, str):
        yield value
    else:
        for inner in value.values() if isinstance(value, dict) else value:
            yield from leaves(inner)


def counts(keys: Iterable[str]) -> bool:
    keys = list(keys)
    return keys == [str(place) for place in range(len(keys))]
