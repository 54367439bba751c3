"""What `make` installs is locked: every file with its hash, from the public index and nowhere else."""

import tomllib
from pathlib import Path
from urllib.parse import urlsplit

LOCK = tomllib.loads((Path(__file__).parents[2] / "uv.lock").read_text())


def test_every_locked_file_is_public_and_has_a_hash() -> None:
    own = [package for package in LOCK["package"] if package["source"] == {"editable": "."}]
    assert [package["name"] for package in own] == ["copernica-ingest"]
    for package in LOCK["package"]:
        if package in own:
            continue
        assert package["source"] == {"registry": "https://pypi.org/simple"}, package["name"]
        for file in [*package.get("wheels", []), *filter(None, [package.get("sdist")])]:
            assert urlsplit(file["url"]).hostname == "files.pythonhosted.org", package["name"]
            assert file["hash"].startswith("sha256:"), package["name"]
