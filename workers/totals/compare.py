"""What differs between two sides of a day, and the likely cause.

Some causes account for a difference, and are only given where they account for all of it:

    theirs > ours    midnight   events just outside our day, which their clock may put inside
                     unnamed    events of the kind that name no mailing: as many as all that is missing, or more
                     erased     lines of that kind that the log files have and the store may not have
    theirs < ours    midnight   events just inside our day, which their clock may put outside
                     only-in-store   events that the day's log files do not have either

All other causes are what a person should look at.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping

from ingest.copernica.api.results import Product
from ingest.copernica.api.statistics import Totals
from ingest.copernica.event_types import EventType
from workers.totals.ours import Key, Ours
from workers.totals.report import KINDS, Cause, Circumstances, Line, Number
from workers.totals.theirs import Theirs

#: Stands for both products where a mailing of each has the same number.
BOTH = "both"
#: Results that have to be compared before the hours are trusted by which the clocks are apart, and totals that
#: have to differ: a single loss can be made up for by what came in an hour later.
LEAST_MEASURED, LEAST_DIFFERING = 20, 3
#: Hours by which a zone can be away from another.
HOURS = (*range(-14, 0), *range(1, 15))


def lines_of(ours: Ours, theirs: Theirs) -> list[Line]:
    """Both sides beside each other: what either has, mailing by mailing."""
    products: dict[int, list[Product]] = {}
    for product, mailing in theirs.totals:
        products.setdefault(mailing, []).append(product)
    failed = {mailing for _, mailing in theirs.failed}
    found: list[Line] = []
    for mailing in sorted({*ours.mailings, *products, *failed}):
        told = [(product, theirs.totals[product, mailing]) for product in products.get(mailing, ())]
        # A mailing of the other product has the same number, and nothing to do with the day.
        told = [one for one in told if _any(one[1])] or told[:1]
        found += _lines(mailing, told, ours, mailing in failed)
    return found


def _any(totals: Mapping[EventType, Totals]) -> bool:
    return any(one.total for one in totals.values())


def _lines(
    mailing: int, told: list[tuple[Product, dict[EventType, Totals]]], ours: Ours, failed: bool
) -> Iterator[Line]:
    product = BOTH if len(told) > 1 else told[0][0].value if told else ""
    for kind in KINDS:
        numbers = [totals.get(kind, Totals(None, None)) for _, totals in told]
        theirs = Number(_sum([one.total for one in numbers]), _sum([one.unique for one in numbers]))
        here = ours.number(mailing, kind)
        if not theirs.total and not here.total:
            continue
        line = Line(product, mailing, kind, theirs, here)
        if theirs.total is None:
            line.causes.append(Cause.NOT_TOLD if told or failed else Cause.UNKNOWN_MAILING)
        yield line


def _sum(numbers: list[int | None]) -> int | None:
    known = [one for one in numbers if one is not None]
    return sum(known) if len(known) == len(numbers) and known else None


def find_causes(lines: Collection[Line], ours: Ours, known: Circumstances) -> None:
    """Give each difference its likely causes."""
    for kind in KINDS:
        of_kind = [line for line in lines if line.kind is kind]
        missing = {at: line for at, line in enumerate(of_kind) if (line.difference or 0) > 0}
        more = {at: line for at, line in enumerate(of_kind) if (line.difference or 0) < 0}
        pools = [(Cause.UNNAMED, max(0, ours.unnamed[kind])), (Cause.ERASED, known.erased[kind])]
        _account(list(missing.values()), ours.outside, pools)
        _account(list(more.values()), ours.inside, [(Cause.ONLY_HERE, known.only_here[kind])])
    for line in lines:
        if line.agrees is False:
            line.causes += _suspicions(line, ours, known)


def _account(lines: list[Line], near: Counter[Key], pools: list[tuple[Cause, int]]) -> None:
    """Give these differences, all in one direction, the causes that account for them, if they do."""
    left = {}
    for at, line in enumerate(lines):
        left[at] = max(0, abs(line.difference or 0) - near[line.mailing, line.kind])
    needed = sum(left.values())
    drawn = []
    for cause, number in pools:
        if needed > 0 and number:
            drawn.append(cause)
            needed -= number
    for at, line in enumerate(lines):
        if left[at] and needed > 0:
            continue
        if left[at] < abs(line.difference or 0):
            line.causes.append(Cause.MIDNIGHT)
        if left[at]:
            line.causes += drawn


def _suspicions(line: Line, ours: Ours, known: Circumstances) -> Iterator[Cause]:
    if line.theirs.unique is not None and line.theirs.unique == line.ours.unique:
        yield Cause.REPEATED
    if (line.difference or 0) > 0:
        yield from known.suspicions
        if line.kind not in ours.by_webhook:
            yield Cause.NOT_REGISTERED


def hours_apart(lines: Collection[Line], shifted: Mapping[int, Counter[Key]], unnamed: Counter[EventType]) -> int:
    """By how many hours the statistics' day begins later than ours, if that is what differs; else 0.

    `shifted` has, for each number of hours, the totals of the day that begins so much later.
    """
    compared = [line for line in lines if line.theirs.total is not None and not unnamed[line.kind]]
    measured = sum(line.theirs.total or 0 for line in compared)
    if measured < LEAST_MEASURED or sum(bool(line.difference) for line in compared) < LEAST_DIFFERING:
        return 0

    def off_by(totals: Counter[Key]) -> int:
        return sum(abs((line.theirs.total or 0) - totals[line.mailing, line.kind]) for line in compared)

    fits = [hours for hours, totals in shifted.items() if off_by(totals) == 0]
    return fits[0] if len(fits) == 1 else 0
