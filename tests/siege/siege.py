"""One siege: genuine calls alone, then beside all attacks at once, with DNS and without; and what must hold."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path

from ingest.endpoint import limits
from ingest.simulation.report import percentile
from ingest.simulation.signer import Headers, Signer, new_key
from tests.chaos.check import calls
from tests.chaos.load import Journal, proof
from tests.siege import attacks, genuine
from tests.siege.attacks import ACCOUNT, FORM, TARGET
from tests.siege.observed import observe
from tests.siege.site import UNVERIFIED_MAX, Site, site
from tests.siege.start import Start
from tests.support.running import until

#: Milliseconds by which the siege may delay genuine calls: what a sender does not notice.
DELAY_MS = 100
#: Bytes that an endpoint process may take at most: what it may hold of calls, and itself.
MEMORY = limits.MAX_HELD + 128 * 1024 * 1024
#: Share of the siege with DNS after which Redis is killed, and for which it stays away.
REDIS_GONE_AT, REDIS_GONE_FOR = 0.5, 0.05
#: Seconds for everything that was kept to be stored.
DRAIN_TIMEOUT = 240.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How large a siege is."""

    seconds: float = 60.0
    #: Genuine calls per second.
    rate: int = 500
    #: Connections of each attack that holds many.
    connections: int = 1500
    #: The attacks to make; all, if none is named.
    attacks: tuple[str, ...] = ()

    @property
    def seconds_alone(self) -> float:
        return self.seconds / 6

    @property
    def seconds_without_dns(self) -> float:
        return self.seconds / 4


@dataclass(frozen=True, slots=True)
class Finding:
    """What was measured, and the most that it may be."""

    about: str
    measured: float
    most: float
    unit: str = ""

    @property
    def holds(self) -> bool:
        return self.measured <= self.most


@dataclass(slots=True)
class Outcome:
    """What came of a siege."""

    findings: list[Finding] = field(default_factory=list)
    figures: dict[str, object] = field(default_factory=dict)
    #: How each attack was answered, by attack and phase.
    answers: dict[str, Counter[str]] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        return all(finding.holds for finding in self.findings)

    def as_json(self) -> dict[str, object]:
        return {
            "holds": self.holds,
            "findings": [{**asdict(one), "holds": one.holds} for one in self.findings],
            "figures": self.figures,
            "answers": {name: dict(outcomes.most_common()) for name, outcomes in self.answers.items()},
        }


class Siege:
    """Runs its phases one after the other over one site."""

    def __init__(self, plan: Plan, place: Site, pool: ProcessPoolExecutor) -> None:
        self._plan = plan
        self._site = place
        self._pool = pool
        self._signer = Signer.new(ACCOUNT)
        #: Its key is not known to anybody when DNS goes away.
        self._late = Signer(new_key(), ACCOUNT, "late._domainkey.copernica.com")
        self._signer.save(place.folder / "signer.json")
        self._late.save(place.folder / "late.json")
        self._journals: list[Journal] = []
        self.outcome = Outcome()

    def run(self) -> Outcome:
        """All phases; each adds what it has found."""
        place = self._site
        place.know(self._signer)
        start = self._start("alone")
        sending = self._send(self._plan.seconds_alone, start)
        start.give([genuine.NAME])
        alone = sending.result()
        processes = place.endpoint_processes()
        beside = self._with_dns()
        self._drain()
        self._find("bytes kept of other calls, with DNS", place.kept_in_vain(), 0, "bytes")
        without = self._without_dns()
        self._find("genuine calls not answered 200", sum(map(_not_kept, (alone, beside, without))), 0)
        phases = {"alone": alone, "with DNS": beside, "without DNS": without}
        self.outcome.figures |= {f"genuine calls, {phase}": _figures(journal) for phase, journal in phases.items()}
        p99_alone, p99 = _p99(alone), _p99(beside)
        self._find("delay of genuine calls by the attacks, p99", round(p99 - p99_alone, 1), DELAY_MS, "ms")
        self._find("most memory of an endpoint process", place.peak_memory(processes), MEMORY, "bytes")
        self._find("endpoint processes that died", len(processes - place.endpoint_processes()), 0)
        self._judge()
        return self.outcome

    def _with_dns(self) -> Journal:
        plan, redis = self._plan, self._site.redis
        with self._under_attack(attacks.WITH_DNS, plan.seconds, "with DNS") as sending:
            time.sleep(plan.seconds * REDIS_GONE_AT)
            redis.kill()
            time.sleep(plan.seconds * REDIS_GONE_FOR)
            redis.start()
            return sending.result()

    def _without_dns(self) -> Journal:
        """The key of most genuine calls is known; that of a few is not, and an observer comes before these."""
        place, seconds = self._site, self._plan.seconds_without_dns
        place.lose_dns(self._signer)
        with self._under_attack(attacks.WITHOUT_DNS, seconds, "without DNS") as sending:
            observing = self._pool.submit(observe, place.port, place.folder / "late.json", 99, seconds)
            late = observing.result()
            without = sending.result()
        self._journals.append(late)
        self.outcome.figures["late_calls_acknowledged"] = len(late.acknowledged)
        self.outcome.figures["late_calls_refused"] = dict(late.refused)
        place.drain()
        self._find("bytes kept of other calls, without DNS", place.kept_in_vain(), UNVERIFIED_MAX, "bytes")
        place.know(self._signer, self._late)
        self._drain()
        return without

    def _judge(self) -> None:
        """Hold the database against all journals."""
        found = Counter(calls(self._site.environ["DATABASE_URL"]))
        sent: set[tuple[str | None, ...]] = set()
        missing = 0
        for journal in self._journals:
            sent |= {(str(call), proof(journal.seed, call)) for call in journal.sent}
            missing += sum((str(call), proof(journal.seed, call)) not in found for call in journal.acknowledged)
        self._find("acknowledged calls that are not stored", missing, 0)
        self._find("calls stored more than once", sum(times > 1 for times in found.values()), 0)
        self._find("events that nobody genuine has sent", len(found.keys() - sent), 0)

    # --- what the phases have in common ---

    def _start(self, phase: str) -> Start:
        folder = self._site.folder / phase
        folder.mkdir()
        return Start(folder)

    def _send(self, seconds: float, start: Start) -> "Future[Journal]":
        """Send genuine calls for so long; their journal is judged in the end."""
        seed, signer = len(self._journals) + 1, self._site.folder / "signer.json"
        sending = self._pool.submit(genuine.send, self._site.port, signer, seed, self._plan.rate, seconds, start)
        sending.add_done_callback(lambda done: self._journals.append(done.result()))
        return sending

    def _seen(self) -> tuple[Headers, bytes]:
        """A genuine call that attackers have seen; it counts as sent."""
        journal = Journal(1000 + len(self._journals), sent={1: 0.0})
        self._journals.append(journal)
        body = b"type=open&id=seen&call=1&proof=%b" % proof(journal.seed, 1).encode()
        return self._signer.sign(TARGET, "127.0.0.1", FORM, body), body

    @contextmanager
    def _under_attack(
        self, kinds: Sequence[Callable[[attacks.Front], object]], seconds: float, phase: str
    ) -> Iterator["Future[Journal]"]:
        """Begin all attacks and genuine calls at once; yields these."""
        plan, seen, start = self._plan, self._seen(), self._start(phase)
        names = [kind.__name__ for kind in kinds if kind.__name__ in (plan.attacks or attacks.ATTACKS)]
        about = names, self._site.port, seconds, seen, plan.connections, start
        under_way = self._pool.submit(attacks.attack_together, *about)
        sending = self._send(seconds, start)
        start.give([genuine.NAME, *names])
        yield sending
        for name, answers in under_way.result().items():
            self.outcome.answers[f"{name}, {phase}"] = answers

    def _drain(self) -> None:
        until(self._site.drained, "an empty backlog", DRAIN_TIMEOUT)

    def _find(self, about: str, measured: float, most: float, unit: str = "") -> None:
        self.outcome.findings.append(Finding(about, measured, most, unit))


def _not_kept(journal: Journal) -> int:
    return len(journal.sent) - len(journal.acknowledged)


def _figures(journal: Journal) -> dict[str, object]:
    return {
        "sent": len(journal.sent),
        "acknowledged": len(journal.acknowledged),
        "refused": {str(status): count for status, count in journal.refused.items()},
        "unanswered": journal.unanswered,
        "not_sent": journal.held_back,
        "p99_ms": _p99(journal),
    }


def _p99(journal: Journal) -> float:
    return round(percentile(sorted(journal.latencies), 0.99) * 1000, 1)


def besiege(plan: Plan, folder: Path) -> Outcome:
    """Run a siege in a folder; what is left there afterwards are logs and data."""
    # A process for each task, which it does not share with any other.
    pool = ProcessPoolExecutor(3, mp_context=get_context("spawn"), max_tasks_per_child=1)
    with pool, site(folder) as place:
        return Siege(plan, place, pool).run()
