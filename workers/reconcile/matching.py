"""Which lines of a log file are in the store already: both sides compared as multisets.

Neither side names an event, so it is known by its key: type, message, second, recipient. Of one key, both sides
are counted: where the store has as many events as the log has lines, nothing is missing, whatever else they say.
Only which of several lines is missing is decided by address and link. Two equal events in one second are both
real; hence multisets.

    lines ─▶ divided by message ─┐
                                 ├─▶ part by part: `basis.measure` once, then `compare` each part
    rows  ─▶ divided by message ─┘

A day can have millions of events. So both sides are written to disk as small records, in parts that each hold
all events of their messages, and only one part at a time is in memory.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from operator import eq
from typing import NamedTuple

from workers.reconcile import partitions
from workers.reconcile.basis import Basis, Columns, Key
from workers.reconcile.pairing import Pairing, agree
from workers.reconcile.partitions import Line, Origin, Row, delivery_id

#: A line of a log file, and how many lines before it have the same digest.
Numbered = tuple[Line, int]
#: A line whose event was recovered earlier, and the event's delivery id.
Known = tuple[bytes, Line]


@dataclass(slots=True)
class Verdict:
    """The outcome of a comparison: `missing` are (number, occurrence) of lines whose event the store lacks.

    `in_store` lines are there; `suspected` are rows that only lines of suspected clicks account for, and
    `only_in_store` those that nothing does. `superseded` are delivery ids of events that were recovered before
    their own calls arrived after all. `fills` are (number, delivery id) of lines that tell more than their rows.
    """

    in_store: int = 0
    suspected: int = 0
    only_in_store: int = 0
    missing: list[tuple[int, int]] = field(default_factory=list)
    superseded: list[bytes] = field(default_factory=list)
    fills: list[tuple[int, bytes]] = field(default_factory=list)


class Rules(NamedTuple):
    """What lines are good for, beyond telling what is missing.

    fills   log files: whether rows that lack something, and results over REST, are filled in
    settles all of the time's log files: whether what was recovered beyond what the lines say is superseded
    """

    fills: bool = True
    settles: bool = True


OF_LOG_FILES, OF_SOME_LOG_FILES = Rules(), Rules(settles=False)
OF_RESULTS = Rules(fills=False, settles=False)


def compare(
    lines: bytes, rows: bytes, basis: Basis, day: range, suspects: bytes = b"", rules: Rules = OF_LOG_FILES
) -> Verdict:
    """What `match` finds out, of records of `Partitions`, and sooner: pairs beyond doubt are taken out first."""
    pairs = 0
    fills: list[tuple[int, bytes]] = []
    if basis.exact and basis.recipient:
        lines, rows, pairs, fills = partitions.without_pairs(lines, rows, basis.offset)
    verdict = match(partitions.lines(lines), partitions.rows(rows), basis, day, partitions.lines(suspects), rules)
    verdict.in_store += pairs
    if rules.fills:
        verdict.fills = sorted(verdict.fills + fills)
    return verdict


def match(
    lines: Iterable[Line],
    rows: Iterable[Row],
    basis: Basis,
    day: range,
    suspects: Iterable[Line] = (),
    rules: Rules = OF_LOG_FILES,
) -> Verdict:
    """Find out which lines are in the store, and which rows no line accounts for.

    `day` are the seconds that the lines are of, by the rows' clock. Calls account for lines first; then events
    that were recovered earlier do, and those beyond what is needed are superseded. `suspects` are lines of
    suspected clicks: they are never missing, but explain a row.
    """
    part = _Part(basis, lines, rules)
    calls: list[Row] = []
    recovered: dict[bytes, Row] = {}
    account = part.account
    for row in rows:
        if row.recovered:
            recovered[row.delivery_id] = row
        elif not account(row):
            calls.append(row)
    part.know(recovered)
    verdict = Verdict()
    calls, strangers = part.account_loosely(calls, list(recovered.values()))
    part.conclude(verdict)
    others = [row for row in (*calls, *strangers) if row.second in day]
    if others:
        suspected = _Part(basis, suspects, OF_RESULTS)
        unexplained, _ = suspected.account_loosely(others, [])
        verdict.suspected = len(others) - len(unexplained)
        verdict.only_in_store = len(unexplained)
    return verdict


class _Part:
    """The lines of one part by their keys, and what of the store accounts for them."""

    def __init__(self, basis: Basis, lines: Iterable[Line], rules: Rules) -> None:
        self._basis = basis
        self._rules = rules
        #: Rows of lines that are the only ones of their key and tell more.
        self._fills: list[tuple[int, bytes]] = []
        #: Recovered events for which no line is left that they can be.
        self._beyond: list[bytes] = []
        self._lines: dict[Key, list[Numbered]] = {}
        #: How many lines of each key are not accounted for yet.
        self._left: dict[Key, int] = {}
        #: The rows that account for lines of a key; where there is one line, only those that may be of another.
        self._rows: defaultdict[Key, list[Row]] = defaultdict(list)
        #: Lines of a key whose event was recovered earlier, and is needed; and those beyond what is needed.
        self._known: dict[Key, list[Known]] = {}
        self._surplus: dict[Key, list[Known]] = {}
        self._exact = basis.exact
        offset = basis.offset
        repeated: Counter[bytes] = Counter()
        for line in lines:
            key = line.message, line.second + offset, line.recipient if basis.recipient else 0
            same = self._lines.get(key)
            if same is None:
                self._lines[key] = [(line, 0)]
                self._left[key] = 1
                continue
            if len(same) == 1:
                repeated[same[0][0].digest] += 1
            same.append((line, repeated[line.digest]))
            repeated[line.digest] += 1
            self._left[key] += 1

    def account(self, row: Row) -> bool:
        """Let a row account for a line of exactly its key.

        A row that may be of another line as well has to wait: one without a time or a recipient, and any row
        where the clocks differ by more than an offset.
        """
        message, second, recipient, *_, timed = row
        if not self._basis.recipient:
            recipient = 0
        elif not recipient:
            return False
        key = message, second, recipient
        left = self._left.get(key)
        if not left or not timed or not self._exact:
            return False
        self._left[key] = left - 1
        lines = self._lines[key]
        if len(lines) > 1:
            self._rows[key].append(row)
        elif not (row.ip and row.url) and _tells_more(lines[0][0], row):
            self._fills.append((lines[0][0].number, row.delivery_id))
        return True

    def know(self, recovered: dict[bytes, Row]) -> None:
        """Find events that earlier runs made from these very lines, and remove them from `recovered`."""
        if not recovered:
            return
        messages = {row.message for row in recovered.values()}
        for key, lines in self._lines.items():
            if key[0] not in messages:
                continue
            ids = ((delivery_id(line.second, line.digest, occurrence), line) for line, occurrence in lines)
            known = [(id_, line) for id_, line in ids if recovered.pop(id_, None)]
            if known:
                needed = min(self._left[key], len(known))
                # Calls that say the same as a line are its own: its event is the first that is not needed.
                unsaid = {line.number for line, _ in self._said(key)[0]}
                known.sort(key=lambda one: one[1].number not in unsaid)
                self._known[key], self._surplus[key] = known[:needed], known[needed:]
                self._left[key] -= needed

    def account_loosely(self, calls: list[Row], recovered: list[Row]) -> tuple[list[Row], list[Row]]:
        """Find lines for rows that lack a value, or that are of a line which lacks one; returns those without.

        A call for which there is no line but one whose event was recovered earlier supersedes that event.
        """
        calls_of, recovered_of = _by_message(calls), _by_message(recovered)
        keys_of: defaultdict[int, list[Key]] = defaultdict(list)
        for key in self._left:
            if key[0] in calls_of or key[0] in recovered_of:
                keys_of[key[0]].append(key)
        unplaced: list[Row] = []
        strangers: list[Row] = []
        for message in {**calls_of, **recovered_of}:
            keys = keys_of[message]
            pairing = self._pairing(keys)
            rest = pairing.place(calls_of.get(message, ()))
            if rest and self._known:
                pairing.widen({key: len(self._known.get(key, ())) for key in keys})
                rest = pairing.place(rest)
                self._take(pairing.placed())
                pairing = self._pairing(keys)
            unplaced += rest
            # Results over REST, and events that were recovered while other settings, or another form of the file,
            # gave the line another name. Calls move for them, if they can be of another line.
            for row in pairing.place(recovered_of.get(message, ())):
                if self._rules.settles and any(self._can_be(row, key) for key in keys):
                    self._beyond.append(row.delivery_id)
                else:
                    strangers.append(row)
            self._take(pairing.placed())
        return self._known_by_name(unplaced), strangers

    def _can_be(self, row: Row, key: Key) -> bool:
        _, second, recipient = self._basis.key_of_row(row)
        own = int.from_bytes(row.delivery_id[:4], "big") + self._basis.offset
        same_time = not row.timed or second - key[1] in self._basis.near or own == key[1]
        return same_time and (not recipient or not key[2] or recipient == key[2])

    def _known_by_name(self, calls: list[Row]) -> list[Row]:
        """Calls that upgraded events which were made from these lines: though they tell something else now."""
        ids = {row.delivery_id for row in calls}
        if not ids:
            return calls
        messages = {row.message for row in calls}
        for key, lines in self._lines.items():
            if key[0] not in messages:
                continue
            for line, occurrence in lines:
                name = delivery_id(line.second, line.digest, occurrence)
                if self._left[key] and name in ids:
                    ids.discard(name)
                    self._left[key] -= 1
                    self._known.setdefault(key, []).append((name, line))
        return [row for row in calls if row.delivery_id in ids]

    def _pairing(self, keys: Iterable[Key]) -> Pairing:
        return Pairing(self._basis, {key: self._left[key] for key in keys}, self._columns_of)

    def _take(self, placed: Iterable[tuple[Key, list[Row]]]) -> None:
        for key, rows in placed:
            displaced = max(0, len(rows) - self._left[key])
            self._left[key] -= len(rows) - displaced
            self._rows[key] += rows
            for _ in range(displaced):
                self._surplus.setdefault(key, []).append(self._known[key].pop())

    def _columns_of(self, key: Key) -> list[Columns]:
        return [self._basis.columns(line) for line, _ in self._lines[key]]

    def conclude(self, verdict: Verdict) -> None:
        """Tell what is missing, what is superseded, and what can be filled in."""
        verdict.fills += self._fills if self._rules.fills else ()
        for key, lines in self._lines.items():
            left = self._left[key]
            verdict.in_store += len(lines) - left
            if not left and key not in self._rows:
                continue
            unsaid, pairs = self._said(key)
            if self._rules.fills:
                verdict.fills += [(line.number, row.delivery_id) for line, row in pairs if _tells_more(line, row)]
            if left:
                there = {line.number for _, line in self._known.get(key, ())}
                unsaid = [numbered for numbered in unsaid if numbered[0].number not in there]
                verdict.missing += [self._unused(key, numbered) for numbered in unsaid[:left]]
        for surplus in self._surplus.values():
            verdict.superseded += [id_ for id_, _ in surplus]
        verdict.superseded += self._beyond
        verdict.fills.sort()

    def _unused(self, key: Key, numbered: Numbered) -> tuple[int, int]:
        """The number and occurrence of a missing line, whose delivery id no other event of the key has.

        One that was upgraded by its call may, and be taken for another line since.
        """
        line, occurrence = numbered
        ids = {row.delivery_id for row in self._rows.get(key, ())}
        while ids and delivery_id(line.second, line.digest, occurrence) in ids:
            occurrence += len(self._lines[key])
        return line.number, occurrence

    def _said(self, key: Key) -> tuple[list[Numbered], list[tuple[Line, Row]]]:
        """The lines of a key without those for which its rows stand, and the lines for which each does.

        A row stands for a line with the same address and link, else for one that it does not contradict; and if it
        contradicts them all, nobody knows for which. Only results over REST then stand for any that is left.
        """
        lines, rows = self._lines[key], self._rows.get(key, ())
        if len(lines) == 1:
            return lines, [(lines[0][0], row) for row in rows]
        unsaid = list(lines)
        pairs: list[tuple[Line, Row]] = []

        def stand(rows: Iterable[Row], fits: Callable[[Columns, Columns], bool]) -> list[Row]:
            others = []
            for row in rows:
                line = self._remove(unsaid, partial(fits, self._basis.columns(row)))
                pairs.extend([(line, row)] if line else ())
                others += [] if line else [row]
            return others

        others = stand(stand(rows, eq), agree)
        there = {line.number for _, line in self._known.get(key, ())}
        for row in others:
            place = next((at for at, (line, _) in enumerate(unsaid) if line.number not in there), None)
            if row.recovered == Origin.RESULT and place is not None:
                pairs.append((unsaid.pop(place)[0], row))
        return unsaid, pairs

    def _remove(self, lines: list[Numbered], fits: Callable[[Columns], bool]) -> Line | None:
        """Remove the first line whose address and link fit, and return it."""
        for place, (line, _) in enumerate(lines):
            if fits(self._basis.columns(line)):
                del lines[place]
                return line
        return None


def _tells_more(line: Line, row: Row) -> bool:
    """Whether a line tells something of an event that its row lacks, or all that a result over REST may lack."""
    return (
        row.recovered == Origin.RESULT
        or not row.timed
        or bool(line.recipient and not row.recipient)
        or bool(line.ip and not row.ip)
        or bool(line.url and not row.url)
    )


def _by_message(rows: Iterable[Row]) -> dict[int, list[Row]]:
    by_message: dict[int, list[Row]] = {}
    for row in rows:
        by_message.setdefault(row.message, []).append(row)
    return by_message
