"""Copernica's keys, looked up in a real DNS server that has good days and bad ones."""

import asyncio
import gc
import json
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from ingest.copernica import key_sources, public_keys
from ingest.copernica.key_sources import DnsSource, FileSource, Records
from ingest.copernica.public_keys import KeyRing, KnownKey
from ingest.errors import CallRejected, KeyUnavailable, Reason, SettingsError
from tests.support.dnsserver import Behaviour, DnsServer
from tests.support.signing import KEY_ID, dkim_record, private_key, same

pytestmark = pytest.mark.slow

KEY = private_key().public_key()
OTHER = private_key(2048, "another").public_key()
RECORD = dkim_record(KEY)
P = RECORD.partition("p=")[2]


class Clock:
    """Stands in for the module `time` where keys grow old."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("ingest.copernica.public_keys.time", clock)
    return clock


@pytest.fixture
def server() -> Iterator[DnsServer]:
    with DnsServer() as server:
        server.put(KEY_ID, RECORD)
        yield server


@pytest.fixture
async def ring(server: DnsServer) -> AsyncIterator[KeyRing]:
    """A ring that asks the server; lookups that a test leaves under way end with it."""
    yield KeyRing(DnsSource([server.address]))
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask for it before `ring`."""
    monkeypatch.setattr(key_sources, "LOOKUP_TIMEOUT", 0.25)


async def refused(ring: KeyRing, name: str = KEY_ID) -> Reason:
    with pytest.raises(CallRejected) as caught:
        await ring.get(name)
    return caught.value.reason


async def unavailable(ring: KeyRing, name: str = KEY_ID) -> bool:
    with pytest.raises(KeyUnavailable):
        await ring.get(name)
    return True


# ---- looking up -------------------------------------------------------------------------------------------------


async def test_a_key_is_looked_up_once(ring: KeyRing, server: DnsServer) -> None:
    assert ring.fresh(KEY_ID) is None
    key = await ring.get(KEY_ID)
    assert same(key, KEY)
    assert ring.fresh(KEY_ID) is key
    assert await ring.get(KEY_ID) is key
    assert server.asked == {KEY_ID: 1}


@pytest.mark.parametrize(
    ("ttl", "seconds"), [(0, public_keys.TTL_MIN), (300, 300), (3000, 3000), (604_800, public_keys.TTL_MAX)]
)
async def test_a_key_is_fresh_for_as_long_as_dns_says_within_limits(
    ring: KeyRing, server: DnsServer, clock: Clock, ttl: int, seconds: int
) -> None:
    server.put(KEY_ID, RECORD, ttl=ttl)
    key = await ring.get(KEY_ID)
    clock.now += seconds - 0.5
    assert await ring.get(KEY_ID) is key
    assert server.asked[KEY_ID] == 1
    clock.now += 1
    assert ring.fresh(KEY_ID) is None
    assert await ring.get(KEY_ID) is key
    assert server.asked[KEY_ID] == 2
    assert ring.fresh(KEY_ID) is key


async def test_one_lookup_serves_all_who_wait_for_a_name(ring: KeyRing, server: DnsServer) -> None:
    found = await asyncio.gather(*(ring.get(KEY_ID) for _ in range(50)))
    assert len(set(map(id, found))) == 1
    assert server.asked[KEY_ID] == 1


async def test_a_caller_that_leaves_does_not_end_the_lookup_for_others(ring: KeyRing, server: DnsServer) -> None:
    callers = [asyncio.create_task(ring.get(KEY_ID)) for _ in range(3)]
    await asyncio.sleep(0)
    callers[0].cancel()
    assert [same(await caller, KEY) for caller in callers[1:]] == [True, True]
    assert server.asked[KEY_ID] == 1


async def test_a_name_that_does_not_exist_is_refused_and_remembered(
    ring: KeyRing, server: DnsServer, clock: Clock
) -> None:
    name = "two._domainkey.copernica.com"
    assert await refused(ring, name) == Reason.UNKNOWN_KEY
    server.put(name, RECORD)
    clock.now += key_sources.ABSENT_TTL - 1
    assert await refused(ring, name) == Reason.UNKNOWN_KEY
    assert server.asked[name] == 1
    clock.now += 2
    assert same(await ring.get(name), KEY)


async def test_a_name_without_texts_is_refused(ring: KeyRing, server: DnsServer) -> None:
    server.let(KEY_ID, Behaviour.EMPTY)
    assert await refused(ring) == Reason.UNKNOWN_KEY


@pytest.mark.parametrize(
    ("text", "reason"),
    [("v=DKIM1; p=", Reason.REVOKED_KEY), ("v=spf1 -all", Reason.BAD_KEY), ("", Reason.BAD_KEY)],
)
async def test_a_name_without_a_key_is_refused(
    ring: KeyRing, server: DnsServer, text: str, reason: Reason
) -> None:
    server.put(KEY_ID, text)
    assert await refused(ring) == reason
    assert await refused(ring) == reason
    assert server.asked[KEY_ID] == 1


@pytest.mark.parametrize("trouble", [Behaviour.SERVFAIL, Behaviour.SILENCE])
async def test_a_failing_dns_server_rejects_no_call_and_is_asked_again_soon(
    impatient: None, ring: KeyRing, server: DnsServer, clock: Clock, trouble: Behaviour
) -> None:
    server.let(KEY_ID, trouble)
    assert await unavailable(ring)
    asked = server.asked[KEY_ID]
    assert asked
    server.put(KEY_ID, RECORD)
    clock.now += public_keys.FAILED_TTL - 1
    assert await unavailable(ring)
    assert server.asked[KEY_ID] == asked
    clock.now += 2
    assert same(await ring.get(KEY_ID), KEY)


async def test_whether_dns_is_silent_is_known_without_a_call_and_no_single_name_decides_it(
    impatient: None, ring: KeyRing, server: DnsServer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(public_keys, "WATCH_EVERY", 0.0)
    server.let(KEY_ID, Behaviour.SERVFAIL)
    assert await unavailable(ring)
    assert not ring.is_silent
    watching = asyncio.create_task(ring.watch())
    for trouble, silent in ((Behaviour.SERVFAIL, True), (Behaviour.NXDOMAIN, False)):
        server.otherwise = trouble
        async with asyncio.timeout(30):
            while ring.is_silent is not silent:
                await asyncio.sleep(0.01)
    watching.cancel()


async def test_an_unreachable_dns_server_rejects_no_call(impatient: None) -> None:
    with DnsServer() as server:
        address = server.address
    assert await unavailable(KeyRing(DnsSource([address])))


async def test_a_second_server_is_asked_when_the_first_one_fails() -> None:
    with DnsServer(Behaviour.SERVFAIL) as bad, DnsServer() as good:
        good.put(KEY_ID, RECORD)
        assert same(await KeyRing(DnsSource([bad.address, good.address])).get(KEY_ID), KEY)
        assert bad.asked[KEY_ID] == good.asked[KEY_ID] == 1


@pytest.mark.parametrize("trouble", [Behaviour.SERVFAIL, Behaviour.SILENCE])
async def test_a_key_that_was_good_is_good_while_dns_is_in_trouble_but_not_forever(
    impatient: None, ring: KeyRing, server: DnsServer, clock: Clock, trouble: Behaviour
) -> None:
    key = await ring.get(KEY_ID)
    seen = clock.now
    server.let(KEY_ID, trouble)
    clock.now += public_keys.TTL_MAX + 1
    assert await ring.get(KEY_ID) is key
    asked = server.asked[KEY_ID]
    assert [await ring.get(KEY_ID) for _ in range(3)] == [key] * 3
    assert server.asked[KEY_ID] == asked
    clock.now = seen + public_keys.STALE - 1
    assert await ring.get(KEY_ID) is key
    assert server.asked[KEY_ID] > asked
    clock.now = seen + public_keys.STALE + public_keys.FAILED_TTL
    assert await unavailable(ring)
    server.put(KEY_ID, RECORD)
    clock.now += public_keys.FAILED_TTL + 1
    assert same(await ring.get(KEY_ID), KEY)


async def test_a_good_key_outlives_a_lookup_whose_caller_has_left(
    impatient: None, ring: KeyRing, server: DnsServer, clock: Clock
) -> None:
    key = await ring.get(KEY_ID)
    server.let(KEY_ID, Behaviour.SERVFAIL)
    clock.now += public_keys.TTL_MAX + 1
    caller = asyncio.create_task(ring.get(KEY_ID))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)
    assert await ring.get(KEY_ID) is key


async def test_a_good_key_outlives_a_renewal_that_failed(
    impatient: None, ring: KeyRing, server: DnsServer, clock: Clock
) -> None:
    key = await ring.get(KEY_ID)
    server.let(KEY_ID, Behaviour.SERVFAIL)
    clock.now += 299
    with pytest.raises(KeyUnavailable):
        await ring.renewed(KEY_ID, key)
    clock.now += 2
    assert await ring.get(KEY_ID) is key


# ---- keys that change -------------------------------------------------------------------------------------------


async def test_a_replaced_key_is_found_when_a_signature_fails(ring: KeyRing, server: DnsServer) -> None:
    key = await ring.get(KEY_ID)
    server.put(KEY_ID, dkim_record(OTHER))
    new = await ring.renewed(KEY_ID, key)
    assert same(new, OTHER)
    assert ring.fresh(KEY_ID) is new
    assert await ring.renewed(KEY_ID, key) is new
    assert server.asked[KEY_ID] == 2


async def test_all_who_come_during_a_renewal_find_the_replaced_key(ring: KeyRing, server: DnsServer) -> None:
    key = await ring.get(KEY_ID)
    server.put(KEY_ID, dkim_record(OTHER))
    found = await asyncio.gather(*(ring.renewed(KEY_ID, key) for _ in range(20)))
    assert [same(new, OTHER) for new in found] == [True] * 20
    assert server.asked[KEY_ID] == 2


async def test_a_renewal_is_allowed_until_one_has_ended(ring: KeyRing, clock: Clock) -> None:
    assert ring.may_renew(KEY_ID)
    key = await ring.get(KEY_ID)
    assert ring.may_renew(KEY_ID)
    renewal = asyncio.create_task(ring.renewed(KEY_ID, key))
    await asyncio.sleep(0)
    assert ring.may_renew(KEY_ID)
    await renewal
    await asyncio.sleep(0)
    assert not ring.may_renew(KEY_ID)
    clock.now += public_keys.RENEW_EVERY + 1
    assert ring.may_renew(KEY_ID)


async def test_forged_signatures_do_not_make_us_ask_all_the_time(
    ring: KeyRing, server: DnsServer, clock: Clock
) -> None:
    key = await ring.get(KEY_ID)
    for _ in range(5):
        assert await ring.renewed(KEY_ID, key) is None
    assert server.asked[KEY_ID] == 2
    clock.now += public_keys.RENEW_EVERY - 1
    assert await ring.renewed(KEY_ID, key) is None
    assert server.asked[KEY_ID] == 2
    clock.now += 2
    assert await ring.renewed(KEY_ID, key) is None
    assert server.asked[KEY_ID] == 3
    assert await ring.get(KEY_ID) is key


async def test_a_key_may_be_renewed_however_short_the_machine_has_been_up(
    ring: KeyRing, server: DnsServer, clock: Clock
) -> None:
    clock.now = 0.5
    key = await ring.get(KEY_ID)
    server.put(KEY_ID, dkim_record(OTHER))
    assert same(await ring.renewed(KEY_ID, key), OTHER)


async def test_a_renewal_that_dns_does_not_answer_is_tried_again_soon(
    impatient: None, ring: KeyRing, server: DnsServer, clock: Clock
) -> None:
    key = await ring.get(KEY_ID)
    server.let(KEY_ID, Behaviour.SERVFAIL)
    with pytest.raises(KeyUnavailable):
        await ring.renewed(KEY_ID, key)
    assert await ring.get(KEY_ID) is key
    server.put(KEY_ID, dkim_record(OTHER))
    assert await ring.renewed(KEY_ID, key) is None
    clock.now += public_keys.FAILED_TTL + 1
    assert same(await ring.renewed(KEY_ID, key), OTHER)


async def test_a_name_that_is_not_known_has_nothing_to_renew(ring: KeyRing, server: DnsServer) -> None:
    assert await ring.renewed(KEY_ID, KEY) is None
    assert not server.asked


@pytest.mark.parametrize("change", [None, "v=DKIM1; k=rsa; p="])
async def test_a_revoked_key_is_not_used_beyond_its_time(
    ring: KeyRing, server: DnsServer, clock: Clock, change: str | None
) -> None:
    await ring.get(KEY_ID)
    if change is None:
        server.let(KEY_ID, Behaviour.NXDOMAIN)
    else:
        server.put(KEY_ID, change)
    clock.now += 299
    assert ring.fresh(KEY_ID)
    clock.now += 2
    assert await refused(ring) == (Reason.REVOKED_KEY if change else Reason.UNKNOWN_KEY)
    server.let(KEY_ID, Behaviour.SERVFAIL)
    clock.now += key_sources.ABSENT_TTL + 1
    assert await unavailable(ring)


async def test_a_revoked_key_is_gone_when_a_signature_fails(ring: KeyRing, server: DnsServer) -> None:
    key = await ring.get(KEY_ID)
    server.put(KEY_ID, "p=")
    with pytest.raises(CallRejected) as caught:
        await ring.renewed(KEY_ID, key)
    assert caught.value.reason == Reason.REVOKED_KEY
    assert ring.fresh(KEY_ID) is None
    assert await refused(ring) == Reason.REVOKED_KEY


# ---- records of every size --------------------------------------------------------------------------------------


async def test_a_key_too_long_for_one_packet_is_found(ring: KeyRing, server: DnsServer) -> None:
    key = private_key(4096).public_key()
    server.put(KEY_ID, dkim_record(key), *[f"v=spf1 {letter * 240}" for letter in "abcd"])
    assert same(await ring.get(KEY_ID), key)
    assert server.asked[KEY_ID] == server.asked_over_tcp[KEY_ID] == 1


async def test_a_long_key_needs_one_packet(ring: KeyRing, server: DnsServer) -> None:
    server.put(KEY_ID, dkim_record(private_key(4096).public_key()))
    await ring.get(KEY_ID)
    assert (server.asked[KEY_ID], server.asked_over_tcp[KEY_ID]) == (1, 0)


async def test_a_record_in_many_strings_is_one_record(ring: KeyRing, server: DnsServer) -> None:
    server.put(KEY_ID, [RECORD[at : at + 40] for at in range(0, len(RECORD), 40)])
    assert same(await ring.get(KEY_ID), KEY)


async def test_other_records_at_the_name_do_no_harm(ring: KeyRing, server: DnsServer) -> None:
    server.put(KEY_ID, "v=spf1 -all", "", RECORD, "p=")
    assert same(await ring.get(KEY_ID), KEY)


# ---- floods -----------------------------------------------------------------------------------------------------


class CountingSource:
    """Counts who asks, and answers when told."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer = asyncio.Event()
        self.records_given: Records | None = None

    async def answers(self) -> bool:
        return self.records_given is not None

    async def records(self, name: str) -> Records:
        self.asked.append(name)
        await self.answer.wait()
        if self.records_given is None:
            raise KeyUnavailable("There is no answer.")
        return self.records_given


async def test_a_flood_of_invented_names_waits_for_itself_alone(
    impatient: None, ring: KeyRing, server: DnsServer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(public_keys, "LOOKUPS_WAITING", 64)
    key = await ring.get(KEY_ID)
    server.put("stale.copernica.com", RECORD)
    stale = await ring.get("stale.copernica.com")
    server.otherwise = Behaviour.SILENCE
    flood = [asyncio.create_task(ring.get(f"x{number}.copernica.com")) for number in range(10_000)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    heard = [task for task in flood if task.done()]
    assert len(heard) == 10_000 - public_keys.LOOKUPS - public_keys.LOOKUPS_WAITING
    assert {type(task.exception()) for task in heard} == {KeyUnavailable}
    assert ring.fresh(KEY_ID) is key
    assert await ring.get(KEY_ID) is key
    clock.now += 301
    assert await ring.get("stale.copernica.com") is stale
    outcomes = await asyncio.gather(*flood, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {KeyUnavailable}
    # At most: a busy machine may give up on a question before the server has read it.
    assert len(server.asked) <= 3 + public_keys.LOOKUPS + public_keys.LOOKUPS_WAITING
    server.put("new.copernica.com", RECORD)
    assert same(await ring.get("new.copernica.com"), KEY)


async def test_few_lookups_are_under_way_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    source = CountingSource()
    ring = KeyRing(source)
    monkeypatch.setattr(public_keys, "LOOKUPS_WAITING", 64)
    flood = [asyncio.create_task(ring.get(f"x{number}.copernica.com")) for number in range(200)]
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(source.asked) == public_keys.LOOKUPS
    assert sum(not task.done() for task in flood) == public_keys.LOOKUPS + public_keys.LOOKUPS_WAITING
    source.answer.set()
    await asyncio.gather(*flood, return_exceptions=True)
    assert len(source.asked) == public_keys.LOOKUPS + public_keys.LOOKUPS_WAITING


@pytest.mark.parametrize("records", [Records([], 60), None])
async def test_failures_remembered_are_bounded_and_the_oldest_go_first(
    monkeypatch: pytest.MonkeyPatch, records: Records | None
) -> None:
    monkeypatch.setattr(public_keys, "FAILURES_MAX", 20)
    source = CountingSource()
    source.answer.set()
    source.records_given = records
    ring = KeyRing(source)
    names = [f"x{number}.copernica.com" for number in range(50)]
    for name in [*names, *names[30:], names[0]]:
        with pytest.raises((CallRejected, KeyUnavailable)):
            await ring.get(name)
    assert source.asked == [*names, names[0]]


async def test_keys_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(public_keys, "KEYS_MAX", 5)
    source = CountingSource()
    source.answer.set()
    source.records_given = Records([RECORD.encode()], 300)
    ring = KeyRing(source)
    names = [f"x{number}.copernica.com" for number in range(12)]
    for name in names:
        await ring.get(name)
    assert [name for name in names if ring.fresh(name)] == names[-5:]


async def test_invented_names_do_not_push_out_a_good_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(public_keys, "FAILURES_MAX", 5)
    monkeypatch.setattr(public_keys, "LOOKUPS_PER_SECOND", 1000)
    source = CountingSource()
    source.answer.set()
    source.records_given = Records([RECORD.encode()], 300)
    ring = KeyRing(source)
    key = await ring.get(KEY_ID)
    source.records_given = None
    for number in range(public_keys.KEYS_MAX + 10):
        await unavailable(ring, f"x{number}.copernica.com")
    assert ring.fresh(KEY_ID) is key


class Body:
    """Something large that a caller holds."""


@pytest.mark.parametrize("behaviour", [Behaviour.NXDOMAIN, Behaviour.SERVFAIL])
async def test_a_failure_remembered_does_not_keep_what_its_callers_held(
    ring: KeyRing, server: DnsServer, behaviour: Behaviour
) -> None:
    server.let(KEY_ID, behaviour)
    gc.disable()  # cyclic garbage of a flood takes so long to collect that genuine calls wait for it

    async def caller() -> "weakref.ref[Body]":
        body = Body()
        with suppress(CallRejected, KeyUnavailable):
            await ring.get(KEY_ID)
        return weakref.ref(body)

    try:
        held = [await caller() for _ in range(3)]
        await asyncio.sleep(0)  # the loop itself lets go of what it has just done
    finally:
        gc.enable()
    assert [body() for body in held] == [None] * 3


async def test_a_failure_raised_again_and_again_does_not_grow(ring: KeyRing, server: DnsServer) -> None:
    server.let(KEY_ID, Behaviour.NXDOMAIN)
    lengths = []
    for _ in range(20):
        with pytest.raises(CallRejected) as caught:
            await ring.get(KEY_ID)
        lengths.append(len(caught.traceback))
    assert max(lengths[1:]) == lengths[1]


async def plausible(ring: KeyRing, name: str) -> bool:
    with pytest.raises(KeyUnavailable) as caught:
        await ring.get(name)
    return caught.value.plausible


@pytest.fixture
def less_impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask for it before `ring`: enough for an answer on a busy machine, where it matters that there is one."""
    monkeypatch.setattr(key_sources, "LOOKUP_TIMEOUT", 2.0)


async def test_an_invented_name_is_no_reason_to_keep_a_call_while_dns_is_well(
    less_impatient: None, ring: KeyRing, server: DnsServer, clock: Clock
) -> None:
    for trouble in (Behaviour.SERVFAIL, Behaviour.SILENCE):
        server.let(f"{trouble.value}.copernica.com", trouble)
        assert not await plausible(ring, f"{trouble.value}.copernica.com")
        assert not await plausible(ring, f"{trouble.value}.copernica.com")  # as it is remembered
    server.otherwise = Behaviour.SERVFAIL
    clock.now += public_keys.FAILED_TTL
    assert await plausible(ring, "any.copernica.com")


async def test_a_name_that_had_a_key_is_a_reason_however_long_ago(
    impatient: None, ring: KeyRing, server: DnsServer, clock: Clock
) -> None:
    await ring.get(KEY_ID)
    server.let(KEY_ID, Behaviour.SERVFAIL)
    clock.now += public_keys.STALE + 1
    assert await plausible(ring, KEY_ID)


async def test_a_full_queue_is_no_reason_even_while_dns_fails(
    impatient: None, ring: KeyRing, server: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(public_keys, "LOOKUPS_WAITING", 0)
    server.otherwise = Behaviour.SILENCE
    flood = [asyncio.create_task(ring.get(f"x{number}.copernica.com")) for number in range(public_keys.LOOKUPS)]
    await asyncio.sleep(0)
    assert not await plausible(ring, "one-too-many.copernica.com")
    await asyncio.gather(*flood, return_exceptions=True)


async def test_who_finds_no_place_in_time_is_not_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(public_keys, "LOOKUPS", 1)
    monkeypatch.setattr(public_keys, "QUEUE_WAIT", 0.05)
    source = CountingSource()
    ring = KeyRing(source)
    first = asyncio.create_task(ring.get("first.copernica.com"))
    await asyncio.sleep(0)
    assert not await plausible(ring, "second.copernica.com")
    assert source.asked == ["first.copernica.com"]
    source.records_given = Records([RECORD.encode()], 300)
    source.answer.set()
    await first
    assert same(await ring.get("second.copernica.com"), KEY)


async def test_lookups_of_invented_names_are_limited_per_second(
    ring: KeyRing, server: DnsServer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        clock.now += seconds

    monkeypatch.setattr(public_keys, "LOOKUPS_PER_SECOND", 5)
    ring = KeyRing(DnsSource([server.address]))
    monkeypatch.setattr(public_keys, "asyncio", SimpleNamespace(**vars(asyncio) | {"sleep": sleep}))
    began = clock.now
    for number in range(16):
        assert await refused(ring, f"x{number}.copernica.com") == Reason.UNKNOWN_KEY
    assert clock.now - began == pytest.approx(3.0)
    assert same(await ring.get(KEY_ID), KEY)


# ---- keys that others know --------------------------------------------------------------------------------------


async def test_a_key_that_another_process_knew_is_used_while_dns_fails(
    impatient: None, ring: KeyRing, server: DnsServer
) -> None:
    server.let(KEY_ID, Behaviour.SILENCE)
    ring.learn([KnownKey(KEY_ID, KEY, age=3600.0)])
    assert ring.fresh(KEY_ID) is None
    assert same(await ring.get(KEY_ID), KEY)
    assert [(known.name, known.age) for known in ring.known()] == [(KEY_ID, 3600.0)]


async def test_a_key_that_another_process_knew_is_confirmed_before_it_is_used(
    ring: KeyRing, server: DnsServer
) -> None:
    ring.learn([KnownKey(KEY_ID, OTHER, age=3600.0)])
    assert same(await ring.get(KEY_ID), KEY)
    assert ring.previous(KEY_ID) is None
    server.let(KEY_ID, Behaviour.NXDOMAIN)
    ring.learn([KnownKey("gone.copernica.com", KEY, age=1.0)])
    assert await refused(ring, "gone.copernica.com") == Reason.UNKNOWN_KEY


async def test_a_key_that_dns_has_withdrawn_is_not_learned_again(
    impatient: None, ring: KeyRing, server: DnsServer, clock: Clock
) -> None:
    await ring.get(KEY_ID)
    known = ring.known()
    server.let(KEY_ID, Behaviour.NXDOMAIN)
    clock.now += public_keys.TTL_MAX
    assert await refused(ring) == Reason.UNKNOWN_KEY
    clock.now += key_sources.ABSENT_TTL + 1
    assert ring.withdrawn() == {KEY_ID: key_sources.ABSENT_TTL + 1}
    ring.learn([known[0]._replace(age=public_keys.TTL_MAX + key_sources.ABSENT_TTL + 1)])
    server.let(KEY_ID, Behaviour.SERVFAIL)
    assert await unavailable(ring)
    ring.learn([known[0]._replace(age=0.0)])  # DNS has confirmed it to somebody since
    clock.now += public_keys.FAILED_TTL
    assert same(await ring.get(KEY_ID), KEY)


async def test_what_another_process_knew_too_long_ago_is_not_used(
    impatient: None, ring: KeyRing, server: DnsServer
) -> None:
    server.let(KEY_ID, Behaviour.SERVFAIL)
    ring.learn([KnownKey(KEY_ID, KEY, age=public_keys.STALE + 1.0)])
    assert await unavailable(ring)
    assert ring.known() == []


async def test_answers_to_other_questions_are_passed_over(ring: KeyRing, server: DnsServer) -> None:
    server.forge = True
    assert same(await ring.get(KEY_ID), KEY)
    assert server.asked_over_tcp == {}


# ---- keys from a file -------------------------------------------------------------------------------------------


async def test_keys_may_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"One._domainkey.Copernica.com": RECORD, "gone.copernica.com": "p="}))
    ring = KeyRing(FileSource(path))
    assert same(await ring.get(KEY_ID), KEY)
    assert await refused(ring, "two._domainkey.copernica.com") == Reason.UNKNOWN_KEY
    assert await refused(ring, "gone.copernica.com") == Reason.REVOKED_KEY


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'"p="', b'{"a": 1}', b'{"a": ["p="]}', b"\xff\xfe", b"null"]
)
def test_a_file_that_is_none_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=f"INGEST_KEYS='{path}'"):
        FileSource(path)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=f"INGEST_KEYS='{tmp_path}/none.json'"):
        FileSource(tmp_path / "none.json")
