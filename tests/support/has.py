"""Several attributes of a thing compared at once, so that a failure names those that differ."""


def assert_has(thing: object, **expected: object) -> None:
    """Compare these attributes of a thing with what they should be."""
    found = {name: getattr(thing, name) for name in expected}
    different = {
        name: f"{found[name]!r}, not {value!r}" for name, value in expected.items() if found[name] != value
    }
    assert not different, f"{type(thing).__name__} has {different}"
