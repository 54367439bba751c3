"""The key pair of simulated calls, in its file."""

from pathlib import Path

import pytest

from ingest.errors import SettingsError
from ingest.simulation.signer import Signer


def test_a_signer_is_kept_whole_or_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "simulator.json"
    signer = Signer.new("account-1")
    signer.save(path)
    (tmp_path / "simulator.json.new").mkdir()  # so that no other can be written
    with pytest.raises(OSError, match="simulator"):
        Signer.new("account-2").save(path)
    assert Signer.load(path).key_id == signer.key_id
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("left", [b"", bytes(40), b"\xff", b"[]", b'{"private_key": 1}'])
def test_what_holds_no_signer_says_what_to_do(tmp_path: Path, left: bytes) -> None:
    (path := tmp_path / "simulator.json").write_bytes(left)
    with pytest.raises(SettingsError, match="delete it, and `ingest dev` makes another"):
        Signer.load(path)
