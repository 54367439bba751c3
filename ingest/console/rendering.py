"""Pages from templates, in the visitor's language, with everything in them that is not ours escaped."""

import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, cast
from zoneinfo import ZoneInfo

from aiohttp import web
from babel.dates import format_date, format_datetime, format_time, format_timedelta
from babel.numbers import format_compact_decimal, format_decimal, format_percent
from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.ext import InternationalizationExtension
from markupsafe import Markup, escape

from ingest import __version__, shown
from ingest.console import assets, once
from ingest.console.hub import hub_of
from ingest.console.kinds import answer_of, detail_of, kind_of
from ingest.console.known_texts import DAY_CAUSES
from ingest.console.links import message_path, recipient_path
from ingest.console.menu import menu_of, page_about
from ingest.console.pages import NAVIGATION
from ingest.console.reading import reading_of
from ingest.console.seals import SEALS
from ingest.console.texts import LANGUAGES, LOCALES, translations
from ingest.console.visitor import visitor_of
from ingest.console.warning_texts import WHAT
from ingest.copernica.events import MICROS

#: Stands where there is no value.
NOTHING = "\N{EN DASH}"
#: Bytes from which on a page is worth compressing.
WORTH_COMPRESSING = 1000


@cache
def environment(language: str) -> Environment:
    """The templates, with the functions that all of them may use."""
    made = Environment(
        loader=PackageLoader("ingest.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[InternationalizationExtension],
        auto_reload=False,
    )
    texts, locale = translations(language), LOCALES[language]
    # Jinja's extension brings this method; its types do not tell.
    cast(Any, made).install_gettext_translations(texts, newstyle=True)
    made.globals.update(kind_of=kind_of, detail_of=detail_of, answer_of=answer_of, message_path=message_path)
    made.globals.update(
        what_of=WHAT.get,
        day_cause=DAY_CAUSES.get,
        version=__version__,
        once=once.token,
        languages=LANGUAGES,
        asset=assets.address,
        menu=menu_of(NAVIGATION),
        page_about=lambda code: page_about(code, NAVIGATION),
    )
    made.filters.update(
        number=lambda value: NOTHING if value is None else format_decimal(value, locale=locale),
        short=lambda value: NOTHING if value is None else format_compact_decimal(value, locale=locale),
        percent=lambda part, digits=1: _percent(part, digits, language),
        bytes=lambda value: _bytes(value, language),
        marked=_marked,
        translated=lambda text: _translated(text, language),
        span=lambda value: _span(value, language),
        duration=lambda value: _duration(value, language),
        plain=shown.escaped,
        lines=shown.escaped_lines,
    )
    return made


def _percent(part: float | None, digits: int, language: str) -> str:
    """A part of the whole, from 0 to 1; a dash where the whole is nothing."""
    if part is None or not math.isfinite(part):
        return NOTHING
    return format_percent(part, "#,##0." + "0" * digits + "%", locale=LOCALES[language])


def _bytes(value: float | None, language: str) -> str:
    """A number of bytes as people read it: `3.4 MiB`."""
    if value is None:
        return NOTHING
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024 or unit == "GiB":
            break
        value /= 1024
    return f"{format_decimal(round(value, 1 if unit != 'B' else 0), locale=LOCALES[language])} {unit}"


def _marked(text: str) -> Markup:
    """Text whose parts between backticks are code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:  # one that is not closed stays as it is
        parts[-2:] = ["`".join(parts[-2:])]
    marked = (Markup("<code>{}</code>").format(part) if at % 2 else escape(part) for at, part in enumerate(parts))
    return Markup("").join(marked)


def _translated(text: str, language: str) -> Markup:
    """One of the texts that the program has elsewhere; what is none of them is marked as English."""
    said = translations(language).gettext(text) if text else ""
    shown_as = "{}" if said != text or language == "en" else '<span lang="en">{}</span>'
    return Markup(shown_as).format(said)  # noqa: S704  # the texts are escaped


def _span(seconds: float | None, language: str) -> str:
    """So much time, as people say it: `12 s`, `3.5 h`."""
    if seconds is None:
        return NOTHING
    text = shown.span(seconds)
    return text.replace(".", ",").replace(" days", " dagen").replace(" h", " u") if language == "nl" else text


def _duration(seconds: float | None, language: str) -> str:
    """How long something took that should take no time: `3.2 ms`, `1.4 s`."""
    if seconds is None:
        return NOTHING
    value, unit = (seconds * 1000, "ms") if seconds < 1 else (seconds, "s")
    return f"{format_decimal(round(value, 1 if value < 10 else 0), locale=LOCALES[language])} {unit}"


def clock(at: float, language: str, zone: ZoneInfo) -> Markup:
    """A time of today, in Unix seconds: the clock alone, with the date where the pointer rests."""
    moment = datetime.fromtimestamp(at, UTC)
    return Markup('<time datetime="{}" data-show="clock" title="{} UTC">{}</time>').format(
        moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        f"{moment:%Y-%m-%d %H:%M:%S}",
        format_time(moment.astimezone(zone), "HH:mm:ss", locale=LOCALES[language]),
    )


def moment(at: datetime | float | None, language: str, zone: ZoneInfo, seconds: bool = True) -> Markup:
    """A time: a script shows it in the browser's zone, with UTC where the pointer rests; without one, in ours.

    `at` is an aware time, or a Unix time in seconds.
    """
    if at is None:
        return escape(NOTHING)
    if not isinstance(at, datetime):
        at = datetime.fromtimestamp(at, UTC)
    utc = at.astimezone(UTC)
    pattern = "d MMM y HH:mm:ss" if seconds else "d MMM y HH:mm"
    text = format_datetime(at.astimezone(zone), pattern, locale=LOCALES[language])
    return Markup('<time datetime="{}" title="{} UTC">{}</time>').format(
        utc.isoformat(timespec="milliseconds").replace("+00:00", "Z"), f"{utc:%Y-%m-%d %H:%M:%S}", escape(text)
    )


def micros_moment(at: int | None, language: str, zone: ZoneInfo) -> Markup:
    """The same for a time in µs since 1970."""
    return moment(None if at is None else at / MICROS, language, zone)


def spoken(seconds: float, language: str, ago: bool = False) -> str:
    """A span of time in words of the language: `3 minutes`; with `ago`, as from now: `3 minutes ago`."""
    span = timedelta(seconds=seconds)
    return format_timedelta(span, granularity="second", threshold=2, add_direction=ago, locale=LOCALES[language])


def html(request: web.Request, template: str, context: Mapping[str, object]) -> str:
    """A template as text. Besides `context`, it knows what `common` names below."""
    visitor = visitor_of(request)
    zone = ZoneInfo(reading_of(request).settings.timezone)
    common = {
        "visitor": visitor,
        "language": visitor.language,
        "path": request.path,
        "twice": once.TWICE in request.query,
        "zone": zone.key,
        "trouble": hub_of(request).glance() if visitor.name else None,
        "time": lambda at, seconds=True: moment(at, visitor.language, zone, seconds),
        "clock": lambda at: clock(at, visitor.language, zone),
        "date": lambda day: format_date(day, "EEE d MMM", locale=LOCALES[visitor.language]),
        "micros": lambda at: micros_moment(at, visitor.language, zone),
        "ago": lambda at: spoken(at / MICROS - time.time(), visitor.language, ago=True),
        "after": lambda span: spoken(span / MICROS, visitor.language),
        "sealed": request.app[SEALS].closed,
        "recipient_path": lambda address: recipient_path(address, request.app[SEALS]),
        # This page with other parameters: `here(lang="nl")`; relative, as a path can be read as another host.
        "here": lambda **changed: "?" + request.rel_url.update_query(changed).raw_query_string,
    }
    assert not common.keys() & context.keys(), (
        f"{template} would take {common.keys() & context.keys()} for its own"
    )
    return environment(visitor.language).get_template(template).render(common | dict(context))


def page(request: web.Request, template: str, status: int = 200, **context: object) -> web.Response:
    """An answer that is a page.

    A page that is asked for by a script (htmx) takes what it needs of it (`hx-select`), so there is one template.
    """
    response = web.Response(text=html(request, template, context), content_type="text/html", status=status)
    response.headers["Vary"] = "Accept-Language, Accept-Encoding, Cookie"
    if len(response.body or b"") > WORTH_COMPRESSING:  # type: ignore[arg-type]  # it is text
        response.enable_compression()
    return response
