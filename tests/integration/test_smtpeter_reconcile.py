"""Days are reconciled from the log files of both services, and complete with both only."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from ingest.errors import InvalidToken
from ingest.settings import Settings
from ingest.simulation.api_faults import Faults
from ingest.simulation.fake_api import FakeCopernica
from tests.support.cli import typed
from tests.support.fake_smtpeter import PATIENT, SMTPETER_TOKEN, fake_smtpeter, written
from tests.support.logs import no_progress
from workers.reconcile.report import DayCause, DayReport
from workers.reconcile.run import ReconcileOptions, reconcile
from workers.reconcile.schedule import Schedule
from workers.reconcile.sources import sources
from workers.store.filters import Filter
from workers.store.schema import upgrade
from workers.store.store import Store

pytestmark = pytest.mark.slow

DAY, BEFORE = "2026-11-20", "2026-11-18"
#: One file of each kind that SMTPeter has: webhooks bring six of them.
KINDS = ("opens", "clicks", "deliveries", "failures", "bounces", "abuses", "attempts", "dmarc", "responses")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    for prefix in KINDS:
        written(
            folder, prefix, DAY, [{"id": "p1", "recipient": "a@example.nl", "organizationName": "example.net"}]
        )
        written(folder, prefix, BEFORE, [])
    written(folder, "cdm-click", DAY, [{"id": "c1", "email": "a@example.nl", "ip": "192.0.2.1"}])
    written(folder, "feedback-loop-errors", DAY, [{"response": "500"}])
    return folder


@pytest.fixture
def database(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/events.db"
    upgrade(url)
    return url


def both(environ: dict[str, str]) -> dict[str, str]:
    """The settings of the fake as Copernica, too."""
    url = environ["INGEST_SMTPETER_URL"].removesuffix("/v1")
    return environ | {"COPERNICA_API_URL": f"{url}/v4", "COPERNICA_AUTH_URL": url, "COPERNICA_TOKEN": "another"}


def reconciled(environ: Mapping[str, str], database: str, day: str = DAY, everything: bool = False) -> DayReport:
    settings = Settings.read({"DATABASE_URL": database, **environ})
    options = ReconcileOptions(wait=0, everything=everything)
    days = [date.fromisoformat(day)]
    (report,) = reconcile(settings, days, options, no_progress, connect=lambda given: sources(given, PATIENT))
    return report


def types(database: str) -> list[str]:
    with Store.open(database) as store:
        return sorted(str(event.type) for event in store.find(Filter()))


TWINS = ["abuse", "bounce", "click", "delivery", "failure", "open"]


def test_a_day_is_complete_with_the_files_of_both_services(folder: Path, database: str) -> None:
    state = FakeCopernica(folder, "another")
    with fake_smtpeter(state) as environ:
        report = reconciled(both(environ), database)
        assert (report.complete, report.total("recovered"), report.outages[0].calls) == (True, 7, 1)
        assert types(database) == sorted([*TWINS, "click"])
        assert not [seen for seen in state.seen if "type=opens" in seen], "SMTPeter's are asked for at one place"
        assert reconciled(both(environ), database, everything=True).total("recovered") == 3
        assert reconciled(both(environ), database, everything=True).total("recovered") == 0
        assert reconciled(both(environ), database, "2026-11-17").gone


def test_smtpeter_alone_is_enough(folder: Path, database: str) -> None:
    with fake_smtpeter(FakeCopernica(folder, "another")) as environ:
        assert reconciled(environ, database).complete
        assert types(database) == TWINS
        quiet = reconciled(environ, database, "2026-11-19")
        assert (quiet.complete, quiet.kinds) == (True, [])
        unknown = reconciled(environ, database, "2026-11-17")
        assert (unknown.complete, unknown.gone) == (False, True)
        assert str(unknown.error) == "SMTPeter has no log files of 2026-11-17: it has 2026-11-18 to 2026-11-20."
        with pytest.raises(InvalidToken):
            reconciled(environ | {"INGEST_SMTPETER_TOKEN": "wrong"}, database)


@pytest.mark.parametrize(
    ("plan", "cause"),
    [
        ("500*9@smtpeter", DayCause.UNREACHABLE),
        ("401@smtpeter", DayCause.FORBIDDEN),
        ("cut*9@smtpeter", DayCause.UNREACHABLE),
    ],
)
def test_what_one_service_has_is_recovered_while_the_other_fails(
    plan: str, cause: DayCause, folder: Path, database: str
) -> None:
    state = FakeCopernica(folder, "another", Faults(plan))
    with fake_smtpeter(state) as environ:
        report = reconciled(both(environ), database)
        assert (report.complete, report.total("recovered"), types(database)) == (False, 1, ["click"])
        assert "SMTPeter" in str(report.error)
        assert report.cause is cause
        assert SMTPETER_TOKEN not in str(report.as_dict())
        with Store.open(database) as store:
            assert Schedule.of(store, date(2026, 11, 21)).incomplete == [date(2026, 11, 20)]
        state.faults = Faults()
        assert reconciled(both(environ), database).complete
        assert types(database) == sorted([*TWINS, "click"])


def test_copernicas_failure_leaves_smtpeters_events(folder: Path, database: str) -> None:
    with fake_smtpeter(FakeCopernica(folder, "another", Faults("403@logfiles"))) as environ:
        assert not reconciled(both(environ), database).complete
    assert types(database) == TWINS


def test_without_any_token_it_is_said_which_to_set(database: str) -> None:
    missing = typed("reconcile", DAY, environ={"DATABASE_URL": database})
    assert (missing.exit_code, "COPERNICA_TOKEN" in missing.stderr) == (2, True)


def test_the_day_is_due_with_either_token() -> None:
    now = datetime(2026, 11, 20, 12, tzinfo=UTC)
    assert Settings.read({"INGEST_SMTPETER_TOKEN": "x"}).reconciles_on(now) == DAY
    assert Settings.read({}).reconciles_on(now) is None
