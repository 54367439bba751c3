"""The calendar, and everything about one day: is anything missing, and what can be done."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from aiohttp import web

from ingest.console import completeness, dates, tasks
from ingest.console.day_chart import chart
from ingest.console.marking import _
from ingest.console.pages import gaps
from ingest.console.reading import reading_of
from ingest.console.rendering import page
from ingest.console.visitor import visitor_of
from ingest.errors import IngestError
from workers.operations import calendar, day
from workers.operations.calendar import DayStanding, DayState
from workers.store.store import Store

routes = web.RouteTableDef()

#: Months on one page: a day's width in each row of three.
MONTHS = 6
#: The first day that is asked for: Copernica has no older webhooks, and what is noted of a day stays there.
EARLIEST = date(2017, 1, 1)
#: What each state is marked with, beside its colour.
MARKS = {
    DayState.TODAY: "•",
    DayState.COMPLETE: "✓",
    DayState.RECOVERED: "↺",
    DayState.DIFFERING: "≠",
    DayState.INCOMPLETE: "!",
    DayState.GONE: "\N{MULTIPLICATION SIGN}",
    DayState.UNKNOWN: "?",
}
#: What each state is called.
NAMES = {
    DayState.TODAY: _("today"),
    DayState.COMPLETE: _("complete"),
    DayState.RECOVERED: _("recovered"),
    DayState.DIFFERING: _("differing"),
    DayState.INCOMPLETE: _("incomplete"),
    DayState.GONE: _("log files gone"),
    DayState.UNKNOWN: _("unknown"),
}


class Month(NamedTuple):
    """A month of the calendar: its weeks of seven days, None where a day is of another month or still to come."""

    name: str
    weeks: list[list[DayStanding | None]]


class Calendar(NamedTuple):
    """What the page with all days shows: those of which something is known, and what leads to others."""

    spans: list[calendar.Span]
    standings: list[DayStanding]
    reasons: list[day.Reason]

    def has(self, first: date, last: date) -> bool:
        """Whether anything is known of a period."""
        return any(span.first <= last and span.last >= first for span in self.spans)

    def before(self, day: date) -> date | None:
        """The last day before another of which something is known."""
        last = max((span.last for span in self.spans if span.first < day), default=None)
        return None if last is None else min(last, day - timedelta(days=1))

    def after(self, day: date) -> date | None:
        """The first day after another of which something is known."""
        first = min((span.first for span in self.spans if span.last > day), default=None)
        return None if first is None else max(first, day + timedelta(days=1))


@routes.get("/days")
async def days(request: web.Request) -> web.Response:
    """The calendar of six months, and what needs a look."""
    language, today = visitor_of(request).language, datetime.now(UTC).date()
    last = min(dates.month_from(request.query.get("until", ""), today), today.replace(day=1))
    first = dates.months_back(last, MONTHS - 1)
    end = dates.months_back(last, -1) - timedelta(days=1)
    try:
        found = await reading_of(request).store(lambda store: _calendar(store, first, end))
    except IngestError as error:
        return page(request, "days.html", status=503, why=str(error), found=None)
    by_day = {one.day: one for one in found.standings}
    months = [
        Month(
            dates.month_text(month, language),
            [row for week in dates.weeks(month) if any(row := [by_day.get(one) if one else None for one in week])],
        )
        for back in range(MONTHS)
        if found.has(month := dates.months_back(last, back), dates.months_back(month, -1) - timedelta(days=1))
        or back == 0
    ]
    after = found.after(end) if end < today else None
    counted = {state: sum(one.state is state for one in found.standings) for state in DayState}
    return page(
        request,
        "days.html",
        found=found,
        months=months,
        weekdays=dates.weekdays(language),
        counts=counted,
        under_way=completeness.under_way(request),
        **_common(language),
        earlier=_month(min(dates.months_back(last, MONTHS), before)) if (before := found.before(first)) else None,
        later=_month(min(max(dates.months_back(last, -MONTHS), after), today)) if after else None,
        has_token=_may_ask(request),
    )


def _common(language: str) -> dict[str, Any]:
    return {
        "marks": MARKS,
        "names": NAMES,
        "day_text": lambda one: dates.day_text(one, language),
        "short_day": lambda one: dates.short_day(one, language),
    }


def _month(day: date) -> str:
    return f"{day.year:04}-{day.month:02}"


def _calendar(store: Store, first: date, last: date) -> Calendar:
    known = calendar.spans(store)
    here = [span for span in known if span.first <= last and span.last >= first]
    found = [
        one
        for one in calendar.standings(store, first, last)
        if any(span.first <= one.day <= span.last for span in here)
    ]
    return Calendar(known, found, day.reasons(store, found))


def _may_ask(request: web.Request) -> bool:
    """Whether log files can be asked for: there is a token."""
    settings = reading_of(request).settings
    return settings.copernica_token is not None or settings.smtpeter_token is not None


@routes.get("/day/{day}")
async def one_day(request: web.Request) -> web.Response:
    """Everything about a day that has begun."""
    wanted, today = dates.day_from(request.match_info["day"]), datetime.now(UTC).date()
    if wanted > today:
        raise web.HTTPNotFound
    language, run = visitor_of(request).language, request.query.get("run", "")
    common: dict[str, Any] = {"day": wanted, "title": dates.day_text(wanted, language), **_common(language)}
    common["under_way"] = completeness.under_way(request)
    common["said"] = completeness.SAID.get(request.query.get("said", ""))
    around: dict[str, Any] = {
        "before": wanted - timedelta(days=1) if wanted > date.min else None,
        "day_after": wanted + timedelta(days=1) if wanted < today else None,
        "following": wanted + timedelta(days=1),
    }
    try:
        found = await reading_of(request).store(lambda store: day.look(store, wanted, run))
    except IngestError as error:
        return page(request, "day.html", status=503, found=None, why=str(error), **common, **around)
    return page(
        request,
        "day.html",
        found=found,
        chart=chart(found.hours, found.gaps, wanted, datetime.now(UTC)),
        has_token=_may_ask(request),
        over=wanted < today,
        kept=_may_be_asked_for(wanted, today),
        mailings=len({(line.product, line.mailing) for line in found.differing}),
        has_copernica=reading_of(request).settings.copernica_token is not None,
        most_totals=day.MOST_TOTALS,
        **gaps.texts(reading_of(request).settings),
        **common,
        **around,
    )


def _may_be_asked_for(wanted: date, today: date) -> bool:
    """Whether a day has begun, and Copernica may have had webhooks then."""
    return EARLIEST <= wanted <= today


@routes.post("/day/{day}/reconcile")
async def reconcile(request: web.Request) -> web.Response:
    """Compare the day's log files with the store, in the background."""
    wanted = dates.day_from(request.match_info["day"])
    here = f"/day/{wanted.isoformat()}"
    form, today = await request.post(), datetime.now(UTC).date()
    if not _may_be_asked_for(wanted, today):
        raise web.HTTPNotFound
    if not _may_ask(request):
        raise web.HTTPSeeOther(f"{here}?said=no-token")
    if await completeness.worker_reconciles(request):
        raise web.HTTPSeeOther(f"{here}?said=worker")
    work = completeness.reconciling(
        reading_of(request).settings, wanted, partial=wanted == today, everything="everything" in form,
        handlers="handlers" in form,
    )  # fmt: skip  # a list to be read across
    what: Mapping[str, object] = {
        "day": wanted.isoformat(), "everything": "everything" in form, "handlers": "handlers" in form,
    }  # fmt: skip  # a list to be read across
    raise tasks.begun(
        request, "reconcile", work, title=_("Compare a day's log files with the store"), what=what, back=here
    )


@routes.post("/day/{day}/totals")
async def totals(request: web.Request) -> web.Response:
    """Compare Copernica's totals of the day's mailings with the store, in the background."""
    wanted = dates.day_from(request.match_info["day"])
    here, settings = f"/day/{wanted.isoformat()}", reading_of(request).settings
    if not _may_be_asked_for(wanted, datetime.now(UTC).date()):
        raise web.HTTPNotFound
    if settings.copernica_token is None:
        raise web.HTTPSeeOther(f"{here}?said=no-token")
    raise tasks.begun(
        request,
        "audit-mailings",
        completeness.comparing_totals(settings, wanted),
        title=_("Compare a day's totals with Copernica's"),
        what={"day": wanted.isoformat()},
        back=here,
    )
