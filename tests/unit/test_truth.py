"""Webhooks, log files and results tell the same events, and what the fake API tells of a truth is all of it."""

import csv
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ingest.copernica.events import decode
from ingest.simulation.api_faults import Faults, Kind
from ingest.simulation.calls import Simulator
from ingest.simulation.fake_api import FakeCopernica
from ingest.simulation.logwriter import PREFIXES, Clock, LogFolder
from ingest.simulation.results_clock import Manner
from ingest.simulation.truth import LISTS, Destination, Truth
from tests.support.fake_copernica import TOKEN, Request, answers

AMSTERDAM = ZoneInfo("Europe/Amsterdam")


def asked(fake: FakeCopernica, paths: list[tuple[str, dict[str, Any]]]) -> list[Any]:
    """What a fake answers to each of these requests."""
    return [answer.content for answer in answers(fake, *(Request(*path) for path in paths))]


def told(fake: FakeCopernica, product: str, number: str, message: str) -> Counter[tuple[str, ...]]:
    """The results of a product; its list of messages has their numbers and hashes under these names."""
    all_of_it = {"limit": "1000"}
    lists = [(f"/{product}/{name}", all_of_it) for name in LISTS.values()]
    sent, *pages = asked(fake, [(f"/{product}/destinations", all_of_it), *lists])
    messages = {one[number]: one[message] for one in sent["data"]}
    return Counter(
        (str(kind), messages[one["destination"]], one["timestamp"], one.get("ip") or "")
        for kind, page in zip(LISTS, pages, strict=True)
        for one in page["data"]
    )


@settings(max_examples=6, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    seed=st.integers(0, 99),
    count=st.integers(0, 80),
    zone=st.sampled_from([UTC, AMSTERDAM]),
    offset=st.integers(-100, 100),
    # On the second day, clocks go back meanwhile.
    start=st.sampled_from([1_795_165_200, 1_792_889_999.8]),
    products=st.sampled_from([["ms"], ["publisher"], ["ms", "publisher"]]),
)
def test_webhooks_log_files_and_results_tell_the_same_events(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    count: int,
    zone: Any,
    offset: int,
    start: float,
    products: list[str],
) -> None:
    calls = list(islice(Simulator(seed, start=start, products=products), count))
    truth, folder = Truth.of((call.type, call.fields) for call in calls), tmp_path_factory.mktemp("logs")
    with LogFolder(folder, Clock(zone, offset)) as logs:
        for call in calls:
            logs.event(call.type, call.fields)

    def written(second: int) -> str:
        shown = datetime.fromtimestamp(second, zone).replace(tzinfo=None) + timedelta(seconds=offset)
        return str(shown)

    told_by_webhooks: Counter[tuple[str, ...]] = Counter()
    for call in calls:
        if call.type in LISTS:
            event = decode(call.body, call.content_type, "", 1)
            told_by_webhooks[
                call.type, event.message_id or "", written(int(call.fields["time"])), event.ip or ""
            ] += 1
    told_by_logs: Counter[tuple[str, ...]] = Counter()
    for kind, prefix in [pair for prefixes in PREFIXES.values() for pair in prefixes.items()]:
        for path in folder.glob(f"{prefix}.*"):
            with path.open(newline="") as file:
                told_by_logs.update(
                    (kind, row["id"], row["time"], row.get("ip", "")) for row in csv.DictReader(file)
                )
    fake = FakeCopernica(None, TOKEN, truth=truth, results=Manner(zone, offset))
    told_by_results = told(fake, "ms", "id", "messageID") + told(fake, "publisher", "internal", "id")
    assert told_by_webhooks == told_by_logs == told_by_results


#: When clocks go back, and forth, in Amsterdam.
TURNS = [1_792_890_000, 1_774_746_000]


@settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    turn=st.sampled_from(TURNS),
    ends=st.lists(st.integers(-20, 20), min_size=2, max_size=2),
    edges=st.sampled_from(["()", "[)", "(]", "[]"]),
    offset=st.sampled_from([0, 37]),
)
def test_a_period_is_what_the_clock_of_results_shows_also_where_it_goes_back_and_forth(
    turn: int, ends: list[int], edges: Any, offset: int
) -> None:
    seconds = [turn + 600 * step for step in range(-20, 20)]
    manner = Manner(AMSTERDAM, offset, edges)
    truth = Truth.of(("open", {"id": f"m{second}", "time": second}) for second in seconds)
    begin, end = (str(datetime.fromtimestamp(turn + 600 * step, UTC))[:19] for step in ends)
    expected = [
        manner.written(second)
        for second in seconds
        if (begin < manner.written(second) or (edges[0] == "[" and begin == manner.written(second)))
        and (manner.written(second) < end or (edges[1] == "]" and end == manner.written(second)))
    ]
    (page,) = asked(
        FakeCopernica(None, TOKEN, truth=truth, results=manner),
        [("/ms/impressions", {"begintime": begin, "endtime": end})],
    )
    assert [row["timestamp"] for row in page["data"]] == expected
    assert page["total"] == len(expected)


def test_each_message_has_one_number_mailing_profile_and_recipient() -> None:
    truth = Truth.of((call.type, call.fields) for call in islice(Simulator(3), 3000))
    sent = truth.destinations()
    assert len({one.message for one in sent}) == len({one.id for one in sent}) == len(sent) > 1000
    assert {one.mailing for one in sent} == {90210, 90211, 90212}
    assert len({one.profile for one in sent}) == len({one.recipient for one in sent})
    assert len({(one.profile, one.recipient) for one in sent}) == len({one.profile for one in sent})
    by_number = {one.id: one for one in sent}
    assert all(by_number[one.destination].mailing == one.mailing for one in truth.results())


def a_truth() -> Truth:
    at = {"time": 1_795_165_200, "mailing": 7, "profile": 4711, "recipient": "a@example.nl"}
    link = {"original": "https://x.nl/?p=4711", "link": "https://x.nl/?p={$profile.id}", "ip": "192.0.2.1"}
    truth = Truth()
    truth.event("delivery", at | {"id": "5fd2c1aa90bb", "destination": 12, "attempts": 2})
    truth.event("click", at | link | {"id": "5fd2c1aa90bb", "destination": 12, "time": 1_795_165_260})
    truth.event("click", at | link | {"id": "5fd2c1aa90bb", "destination": 12, "time": 1_795_165_262})
    truth.event("unsubscribe", at | {"id": "5fd2c1aa90bc", "destination": 13, "time": 1_795_165_270})
    return truth


def test_results_and_messages_are_told_as_documented() -> None:
    number = {"destination": 12, "mailing": 7}
    click = {
        "ID": 1,
        "timestamp": "2026-11-20 09:01:00",
        "link": "https://x.nl/?p={$profile.id}",
        "ip": "192.0.2.1",
    }
    about = {"profile": 4711, "subprofile": None, "mailing": 7, "timestampsent": "2026-11-20 09:00:00"}
    of_mailing, of_message, unique, period, one, by_hash, listed, totals, mailings = asked(
        FakeCopernica(None, TOKEN, truth=a_truth()),
        [
            ("/ms/emailing/7/clicks", {"limit": "1"}),
            ("/ms/destination/5fd2c1aa90bb/deliveries", {"total": "false"}),
            ("/ms/clicks", {"unique": "true"}),
            ("/ms/clicks", {"begintime": "2026-11-20 09:01:00", "endtime": "2026-11-20 09:02:00"}),
            ("/ms/destination/12", {}),
            ("/ms/destination/5fd2c1aa90bb", {}),
            ("/ms/destinations", {"from": "2026-11-19", "to": "2026-11-21"}),
            ("/ms/emailing/7/statistics", {}),
            ("/ms/emailings", {"fromdate": "2026-11-20 00:00:00", "todate": "2026-11-21"}),
        ],
    )
    its = {"profile": 4711, "subprofile": None, "useragent": None}
    assert of_mailing == {"start": 0, "limit": 1, "count": 1, "total": 2, "data": [click | number | its]}
    delivery = {"ID": 1, "timestamp": "2026-11-20 09:00:00", "attempts": 2} | number
    assert of_message == {"start": 0, "limit": 100, "count": 1, "data": [delivery]}
    assert [row["ID"] for row in unique["data"]] == [1]
    assert [row["ID"] for row in period["data"]] == [2], "after and before: neither end belongs to it"
    assert one == by_hash == about | {"ID": 12, "messageID": "5fd2c1aa90bb"}
    assert listed["data"][0] == about | {"id": 12, "messageID": "5fd2c1aa90bb", "unsubscribed": False}
    assert listed["data"][1]["unsubscribed"] is True
    assert (totals["destinations"], totals["clicks"]) == (2, {"total": 2, "unique": 1})
    assert (totals["unsubscribes"]["total"], totals["retries"]["total"]) == (1, 0)
    assert [(row["id"], row["destinations"]) for row in mailings["data"]] == [(7, 2)]


def test_the_publisher_filters_by_fields_and_names_both_numbers() -> None:
    truth = Truth()
    for second in range(5):
        truth.event("open", {"id": f"p{second}", "time": 1_795_165_200 + second, "product": "publisher"})
    fields = ["timestamp>=2026-11-20 09:00:01", "timestamp<2026-11-20 09:00:04", "id>2"]
    seen, messages = asked(
        FakeCopernica(None, TOKEN, truth=truth),
        [("/publisher/impressions", {"fields[]": fields}), ("/publisher/destinations", {"limit": "1"})],
    )
    assert [row["ID"] for row in seen["data"]] == [3, 4]
    assert set(seen["data"][0]) >= {"emailing", "destination", "profile", "subprofile", "referer"}
    assert (messages["data"][0]["id"], messages["total"]) == ("p0", 5)
    assert messages["data"][0]["internal"] in {one.id for one in truth.destinations()}


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("no-rows", {"data": [], "count": 0, "total": 2}),
        ("lies", {"count": 0, "total": 9_999_999}),
        ("strings", {"total": "2"}),
    ],
)
def test_a_page_goes_wrong_on_demand(fault: str, said: dict[str, Any]) -> None:
    fake = FakeCopernica(None, TOKEN, Faults(f"{fault}@results"), truth=a_truth())
    (page,) = asked(fake, [("/ms/clicks", {})])
    assert {name: page[name] for name in said} == said
    assert fake.calls == {Kind.TOKEN: 1, Kind.RESULTS: 1}


def test_pages_change_between_requests_on_demand() -> None:
    truth = Truth.of(("open", {"id": f"m{n}", "time": 1_795_165_200 + n}) for n in range(10))
    fake = FakeCopernica(None, TOKEN, Faults("ok@results,removed@results,inserted@results"), truth=truth)
    page = [("/ms/impressions", {"start": "4", "limit": "2"})]
    ids = [[row["ID"] for row in answer["data"]] for answer in asked(fake, page * 3)]
    assert ids == [[5, 6], [6, 7], [4, 5]]
    nothing, blank = asked(FakeCopernica(None, TOKEN, Faults("null@results,blank@results"), truth=truth), page * 2)
    assert set(nothing["data"][0].values()) == {None}
    assert (blank["data"][0]["ID"], blank["data"][0]["ip"]) == (5, None)


def test_results_come_late_and_new_ones_first() -> None:
    now = [1_795_165_210.0]
    truth = Truth.of(("open", {"id": f"m{n}", "time": 1_795_165_200 + n}) for n in range(10))
    manner = Manner(late=5.0, newest_first=True)
    fake = FakeCopernica(None, TOKEN, truth=truth, results=manner, now=lambda: now[0])
    (early,) = asked(fake, [("/ms/impressions", {})])
    now[0] += 100
    (late,) = asked(fake, [("/ms/impressions", {})])
    assert [row["ID"] for row in early["data"]] == [6, 5, 4, 3, 2, 1]
    assert late["total"] == 10


def test_a_truth_in_a_folder_is_gone_on_with_and_read_by_others_meanwhile(tmp_path: Path) -> None:
    calls = [(call.type, call.fields) for call in islice(Simulator(5), 200)]
    for _ in range(2):
        with Truth(tmp_path / "t") as truth, Truth(tmp_path / "t") as other:
            for kind, fields in calls:
                truth.event(kind, fields)
            truth.flush()
            assert truth.results() == other.results()
    once = Truth.of(calls)
    with Truth(tmp_path / "t") as found:
        results = found.results()
        assert len(results) == len({(one.kind, one.id) for one in results}) == 2 * len(once.results())
        assert found.destinations() == once.destinations()


def test_messages_that_are_known_keep_what_is_known() -> None:
    truth = Truth()
    truth.event("open", {"id": "m", "destination": 4, "time": 100, "mailing": 2})
    truth.add_destinations([Destination("ms", 4, "other", 9, 50, 11, None, "a@example.nl")])
    assert truth.destinations() == [Destination("ms", 4, "m", 2, 50, 11, None, "a@example.nl")]


ODD = st.sampled_from(
    ["", "0", "-1", "9" * 30, "9" * 5000, "x", "é", "\0", "0001-01-01", "9999-12-31 23:59:59", "id<9"]
)
SOME = ODD | st.text(max_size=9).filter(lambda text: text < "\ud800" or text > "\udfff")


@settings(max_examples=15, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(values=st.lists(SOME, min_size=12, max_size=12), zone=st.sampled_from([UTC, AMSTERDAM]))
def test_whatever_is_asked_is_answered_or_refused(values: list[str], zone: Any) -> None:
    names = [
        "start",
        "limit",
        "total",
        "begintime",
        "endtime",
        "from",
        "to",
        "fromdate",
        "todate",
        "fields[]",
        "unique",
    ]
    params, odd = dict(zip(names, values, strict=False)), quote(values[-1].replace("/", "") or "1", safe="")
    number = "9" * 5000 if len(values[0]) > 9 else "7"
    paths = [f"/ms/emailing/{number}/clicks", f"/ms/destination/{odd}", f"/publisher/destination/{odd}/clicks"]
    lists = ["/ms/clicks", "/ms/destinations", "/ms/emailings", "/ms/emailing/7/statistics", "/publisher/clicks"]
    profiles = [f"/profile/{number}", f"/database/{number}/profiles", f"/profile/{number}/subprofiles"]
    fake = FakeCopernica(None, TOKEN, truth=a_truth(), results=Manner(zone, 7))
    few = {name: value for name, value in params.items() if len(value) < 99}
    for answer in answers(fake, *(Request(path, few) for path in [*paths, *lists, *profiles])):
        assert answer.status in (200, 400, 404), answer
