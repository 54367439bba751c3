"""Fuzzes one target in this process, until libFuzzer's options say that it is enough: TARGET FOLDER [OPTION…]."""

import sys

import atheris

with atheris.instrument_imports(include=["ingest", "workers", "urllib", "json", "email"]):
    from tests.fuzz.targets import TARGETS

if __name__ == "__main__":
    name, *options = sys.argv[1:]
    atheris.Setup([f"fuzz {name}", *options], TARGETS[name])
    atheris.Fuzz()
