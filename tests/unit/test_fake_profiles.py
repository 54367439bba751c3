"""The fake API shows profiles as events left them, and lets them be made, changed and removed as documented."""

from itertools import islice

from ingest.simulation.api_faults import Faults
from ingest.simulation.calls import DATABASE, Simulator
from ingest.simulation.fake_api import FakeCopernica
from ingest.simulation.results_clock import Manner
from ingest.simulation.truth import Truth
from tests.support.fake_copernica import TOKEN, Request, answers

AT = {"time": 1_795_165_200, "mailing": 7, "profile": 4711, "recipient": "a@example.nl"}


def a_fake(**options: object) -> FakeCopernica:
    truth = Truth.of([("open", AT | {"id": "m1"})])
    return FakeCopernica(None, TOKEN, truth=truth, now=lambda: 1_795_165_260.0, **options)  # type: ignore[arg-type]


def test_a_recipient_is_a_profile_with_that_address() -> None:
    shown, fields, listed, none, huge = answers(
        a_fake(),
        Request("/profile/4711"),
        Request("/profile/4711/fields"),
        Request("/database/7/profiles"),
        Request("/profile/1"),
        Request("/profile/99999999999999999999"),
    )
    assert shown.content | {"secret": ""} == {
        "ID": 4711,
        "fields": {"email": "a@example.nl"},
        "interests": {},
        "database": 7,
        "secret": "",
        "created": "2026-11-20 09:00:00",
        "modified": "2026-11-20 09:00:00",
        "removed": False,
    }
    assert fields.content == {"email": "a@example.nl"}
    assert (listed.content["total"], listed.content["data"]) == (1, [shown.content])
    assert (none.status, none.content) == (400, {"error": {"message": "No profile with supplied ID"}})
    assert huge.status == 400


def test_a_profile_is_changed_and_removed_once() -> None:
    changed, whole, shown, removed, again, gone, listed = answers(
        a_fake(),
        Request("/profile/4711/fields", method="PUT", body={"Clicked": "yes"}),
        Request("/profile/4711", method="PUT", body={"fields": {"name": "é"}, "interests": {"blue": 1}}),
        Request("/profile/4711"),
        Request("/profile/4711", method="DELETE"),
        Request("/profile/4711", method="DELETE"),
        Request("/profile/4711"),
        Request("/database/7/profiles"),
    )
    assert (changed.status, whole.status, removed.status) == (204, 204, 204)
    assert shown.content["fields"] == {"email": "a@example.nl", "Clicked": "yes", "name": "é"}
    assert (shown.content["interests"], shown.content["modified"]) == ({"blue": 1}, "2026-11-20 09:01:00")
    assert removed.headers["X-deleted"] == "profile/4711"
    assert (again.status, gone.status, listed.content["data"]) == (400, 400, [])
    assert "has already been removed" in again.content["error"]["message"]


def test_profiles_and_subprofiles_are_made() -> None:
    made, below, listed, orphan, nothing = answers(
        a_fake(),
        Request("/database/3/profiles", method="POST", body={"fields": {"email": "b@example.nl"}}),
        Request("/profile/4711/subprofiles/12", method="POST", body={"order": "2026-1"}),
        Request("/collection/12/subprofiles"),
        Request("/profile/1/subprofiles/12", method="POST", body={"order": "2026-1"}),
        Request("/database/3/profiles", method="POST", body=[]),
    )
    assert (made.status, made.headers["X-location"].rpartition("/v4")[2]) == (201, "/profile/4712")
    assert (below.status, below.headers["X-location"].rpartition("/v4")[2]) == (201, "/subprofile/1")
    (order,) = listed.content["data"]
    assert (order["profile"], order["collection"], order["fields"]) == (4711, 12, {"order": "2026-1"})
    assert (orphan.status, nothing.status) == (400, 400)


def test_changes_are_answered_as_older_versions_do_where_that_is_wanted() -> None:
    changed, made, removed = answers(
        a_fake(manners="seen", results=Manner(strings=True)),
        Request("/profile/4711/fields", method="PUT", body={"Clicked": "yes"}),
        Request("/database/3/profiles", method="POST", body={"email": "b@example.nl"}),
        Request("/profile/4711", method="DELETE"),
    )
    assert (changed.status, changed.headers["Location"].rpartition("/v4")[2]) == (303, "/profile/4711/fields")
    assert (made.status, made.headers["X-Created"], removed.status) == (200, "4712", 200)


def test_what_events_do_to_profiles_can_be_seen() -> None:
    calls = list(islice(Simulator(2, types=["profile-create", "profile-update", "subprofile-create"]), 300))
    truth = Truth.of((call.type, call.fields) for call in calls)
    last = {call.fields["profile"]: call for call in calls if call.type.startswith("profile-")}
    (page,) = answers(
        FakeCopernica(None, TOKEN, truth=truth), Request(f"/database/{DATABASE}/profiles", {"limit": "1000"})
    )
    shown = {one["ID"]: one["fields"]["order"] for one in page.content["data"]}
    assert shown == {number: call.fields["fields[order]"] for number, call in last.items()}
    truth.event("profile-delete", dict(calls[0].fields) | {"time": 1, "profile": next(iter(last))})
    (gone,) = answers(FakeCopernica(None, TOKEN, truth=truth), Request(f"/profile/{next(iter(last))}"))
    assert gone.status == 400


def test_profiles_go_wrong_on_demand() -> None:
    faults = Faults("null@profile,503@profile,elsewhere@profile,moved@profile")
    nothing, unavailable, elsewhere, moved = answers(a_fake(faults=faults), *[Request("/profile/4711")] * 4)
    assert set(nothing.content) > {"ID", "fields"}
    assert nothing.content["ID"] is None
    assert unavailable.status == 503
    assert elsewhere.headers["Location"] == "http://elsewhere.invalid/v4/profile/4711"
    assert moved.headers["Location"].startswith("http://127.0.0.1:")
