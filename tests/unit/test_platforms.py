"""Hosts whose disk goes with the process are known by their variables; a setting has the last word."""

from pathlib import Path

import pytest

from ingest import disks, health, platforms
from ingest.disks import Mount
from ingest.errors import SettingsError
from ingest.settings import Settings
from tests.support.runbook import is_shown

#: Where a volume is mounted, in a container whose own disk is thrown away.
MOUNTS = {"/": "overlay", "/data": "ext4", "/tmp": "tmpfs"}


@pytest.fixture(autouse=True)
def _mounts(monkeypatch: pytest.MonkeyPatch) -> None:
    def mount(folder: Path) -> Mount:
        point = f"/{folder.parts[1]}" if len(folder.parts) > 1 else "/"
        point = point if point in MOUNTS else "/"
        return Mount(Path(point), MOUNTS[point])

    monkeypatch.setattr(disks, "nearest", lambda folder: folder)
    monkeypatch.setattr(disks, "mount", mount)


def lasts(spool: str = "/app/spool", **environ: str) -> bool:
    return Settings.read({"INGEST_SPOOL_DIR": spool, **environ}).spool_lasts


@pytest.mark.parametrize("variable", [platform.variable for platform in platforms.PLATFORMS])
def test_on_a_host_that_throws_disks_away_it_does_not_last(variable: str) -> None:
    assert lasts()
    assert not lasts(**{variable: "x"})
    assert not lasts("/tmp/spool", **{variable: "x"})
    assert lasts(**{variable: "x", "INGEST_SPOOL_DURABLE": "yes"})
    assert lasts("off", **{variable: "x"})


@pytest.mark.parametrize("platform", platforms.PLATFORMS, ids=lambda platform: platform.name)
def test_a_volume_lasts_where_the_host_has_any(platform: platforms.Platform) -> None:
    assert lasts("/data/spool", **{platform.variable: "x"}) is platform.has_volumes


def test_the_setting_decides() -> None:
    assert not lasts(INGEST_SPOOL_DURABLE="No")
    with pytest.raises(SettingsError, match="INGEST_SPOOL_DURABLE='maybe' cannot be used: write yes or no"):
        lasts(INGEST_SPOOL_DURABLE="maybe")


def test_a_copy_with_other_values_knows_the_host() -> None:
    settings = Settings.read({"DYNO": "web.1"})
    assert not settings.model_copy(update={"port": 1}).spool_lasts


def test_it_is_a_risk_of_its_own(tmp_path: Path) -> None:
    found = {risk.code: risk.text for risk in health.of_spool(tmp_path, 1, 60.0)}
    assert is_shown("spool-passing", found[health.RiskCode("spool-passing")])
    assert "spool-passing" not in {risk.code for risk in health.of_spool(tmp_path, 1)}
