"""Log files of every kind in every form: read as they were written, and never taken for whole if they are not."""

import csv
import io
import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any, Literal, NamedTuple
from xml.sax.saxutils import escape
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from ingest.copernica.events import FIRST_SECOND, LAST_SECOND, Event, EventType
from ingest.copernica.logfiles import csv_rows
from ingest.copernica.logfiles.kinds import KINDS, LogKind, misnamed, named
from ingest.copernica.logfiles.reader import Entry, Lines, Outage, Said, outages, read, read_again
from ingest.copernica.logfiles.rows import MAX_RECORD, Damage
from ingest.copernica.logfiles.text import Encoding
from ingest.errors import LogFileError
from tests.support.has import assert_has
from tests.support.logs import said_by
from workers.records import read as read_call
from workers.records import record_of

OPENS = KINDS["cdm-impression"]
NINE = 1_795_165_200
#: All kinds with events; those of DMARC tell of no message.
EVENTS = [kind for kind in KINDS.values() if kind.type and kind.type is not EventType.DMARC]


class Drip(io.BytesIO):
    """A file that gives few bytes at a time, so that whatever can stand across two blocks does."""

    def __init__(self, content: bytes, size: int) -> None:
        super().__init__(content)
        self._size = size

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(self._size)


def found(content: bytes, kind: LogKind = OPENS, block: int = 1 << 20, **more: Any) -> list[Entry | Damage]:
    return list(read(Drip(content, block), kind, **more))


def events(found: Sequence[Entry | Damage]) -> list[Event]:
    return [one.event for one in found if isinstance(one, Entry)]


def damages(found: Sequence[Entry | Damage]) -> list[Damage]:
    return [one for one in found if isinstance(one, Damage)]


# --- writing ---


def as_csv(
    names: Sequence[str], rows: Sequence[Sequence[str]], header: bool = True, quoting: Literal[0, 1] = 0
) -> list[bytes]:
    """A line each, the header's among them."""
    lines = []
    for row in [names, *rows] if header else rows:
        out = io.StringIO()
        # Older Pythons quote a CR only if it is in the line end.
        csv.writer(out, quoting=quoting, lineterminator="\n" if quoting else "\r\n").writerow(row)
        lines.append(out.getvalue().encode())
    return lines


def as_json(names: Sequence[str], rows: Sequence[Sequence[str]], indent: int | None = None) -> bytes:
    objects = [dict(zip(names, row, strict=True)) for row in rows]
    return json.dumps(objects, indent=indent, ensure_ascii=bool(indent)).encode()


def as_xml(names: Sequence[str], rows: Sequence[Sequence[str]]) -> bytes:
    def field(name: str, text: str) -> str:
        return f"<{name}>{escape(text, {chr(13): '&#13;'})}</{name}>"

    records = [f"<record>{''.join(map(field, names, row))}</record>" for row in rows]
    return f'<?xml version="1.0" encoding="utf-8"?>\n<records>\n{"".join(records)}</records>\n'.encode()


# --- what there is to read ---

#: Any text that XML can hold, too.
signs = st.characters(exclude_categories=["Cs", "Cc", "Cn", "Co"], include_characters="\n\r\t")
texts = st.one_of(
    st.text(signs, max_size=8),
    st.sampled_from(
        [
            "", ",", '"', '""', '","', "\n", '"\n"', "\r\n", "a;b", ";", "]]>", "&amp;", "<a>", "}", '{"',
            "\\u0000", "\\", "007", "12", "2026-11-20 09:00:00", "time", "5.1.1", "User-Agent: a\n b\r\n",
            "Referer: c",
        ]
    ),
)  # fmt: skip  # words, not a column of them
seconds = st.integers(1, 4_102_444_799)


class Day(NamedTuple):
    """Rows of one kind."""

    kind: LogKind
    names: tuple[str, ...]
    rows: list[list[str]]


@st.composite
def days(draw: st.DrawFn, texts: st.SearchStrategy[str] = texts, min_size: int = 0) -> Day:
    kind = draw(st.sampled_from(EVENTS))
    names = kind.columns
    place = names.index("time")
    # What is before the time holds no line ends, at Copernica: the id of a message and a domain.
    before = [st.from_regex("[0-9a-f]{4}", fullmatch=True)] * place
    row = st.tuples(*before, seconds.map(written), *[texts] * (len(names) - place - 1)).map(list)
    rows = draw(st.lists(row, min_size=min_size, max_size=4))
    return Day(kind, names, [[f"5fd{number}", *row[1:]] for number, row in enumerate(rows)])


def written(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d %H:%M:%S")


plain = st.text("abc é;\n\r0", max_size=8)
blocks = st.sampled_from([1, 2, 7, 64, 1 << 20])

#: The name of the field for a column, where they differ.
TELLS = {
    "email": "recipient",
    "url": "original",
    "type": "log_type",
    "mailingid": "mailing",
    "profileid": "profile",
    "subprofileid": "subprofile",
    "databaseid": "database",
    "collectionid": "collection",
}


def assert_says(event: Event, kind: LogKind, row: dict[str, str]) -> None:
    fields = event.fields
    assert_has(event, type=kind.type, source="logfile", raw=None, path="")
    assert written(event.occurred_at // 1_000_000) == row.pop("time")
    assert event.tags == [tag for tag in row.pop("tags").split(";") if tag]
    status = row.pop("status", "")
    assert status in {fields.get("extended", ""), fields.get("status", "")}
    link = row.pop("linkinfo", "")
    if link and not row.get("url"):  # a number, unless it can be nothing but an address
        assert link == fields["original" if any(sign in link for sign in "./") else "link_id"]
        row.pop("url", None)
    else:
        assert fields.get("link_id", "") == link
    for name, text in row.items():
        assert fields.get(TELLS.get(name, name), "") == text


@given(days(), blocks, st.sampled_from((0, 1)))
def test_rows_of_every_kind_are_read_as_they_were_written(day: Day, block: int, quoting: Literal[0, 1]) -> None:
    kind, names, rows = day
    lines = as_csv(names, rows, quoting=quoting)
    forms = [b"".join(lines), as_json(names, rows), as_json(names, rows, 1), as_xml(names, rows)]
    forms.append(b"".join(lines[1:]))
    bare = [[cell.strip(" \t\r\n") for cell in row] for row in rows]  # in XML, blanks around values are layout
    for content in forms:
        once = found(content, kind, block)
        assert not damages(once)
        for event, row in zip(events(once), bare if content[:1] == b"<" else rows, strict=True):
            assert_says(event, kind, dict(zip(names, row, strict=True)))


@given(days(), st.data())
def test_a_truncated_file_never_counts_as_whole(day: Day, data: st.DataObject) -> None:
    kind, names, rows = day
    lines = as_csv(names, rows)
    ends = [sum(map(len, lines[:count])) for count in range(len(lines) + 1)]
    xml, objects = as_xml(names, rows).rstrip(), as_json(names, rows)
    for content, harmless in ((b"".join(lines), ends), (xml, []), (objects, [])):
        cut = data.draw(st.integers(1, len(content) - 1))
        left = found(content[:cut], kind)
        assert bool(damages(left)) != (cut in harmless)
        assert events(left) == events(found(content, kind))[: len(events(left))]
        assert [one.number for one in damages(left)] == [one.number for one in left][len(events(left)) :]


# --- what lines say, without events, and what stands where they said ---


def as_said(one: Entry | Damage) -> object:
    return said_by(one.event, one.number) if isinstance(one, Entry) else one


def said_in(content: bytes, kind: LogKind, block: int, **more: Any) -> tuple[list[Said | Damage], tuple[str, ...]]:
    lines = Lines(Drip(content, block), kind, **more)
    return list(lines), lines.names


def assert_lines_say_what_events_do(content: bytes, kind: LogKind, block: int, **more: Any) -> None:
    read_slowly = found(content, kind, block, **more)
    said, names = said_in(content, kind, block, **more)
    placed = [one for one in said if isinstance(one, Said) and one.end]
    assert [one._replace(begin=0, end=0) if isinstance(one, Said) else one for one in said] == [
        as_said(one) for one in read_slowly
    ]
    if placed:
        assert len(placed) == len(events(read_slowly))
        cut = b"".join(content[one.begin : one.end] for one in placed)
        again = read_again(map(bytes.decode, iter(io.BytesIO(cut).read, b"")), kind, names)
        assert events(list(again)) == events(read_slowly)


@pytest.mark.slow
@given(days(), blocks, st.sampled_from((0, 1)), st.sampled_from(("utf-8", "utf-8-sig", "utf-16", "cp1252")))
def test_lines_say_what_their_events_do_in_every_form(
    day: Day, block: int, quoting: Literal[0, 1], codec: str
) -> None:
    kind, names, rows = day
    lines = as_csv(names, rows, quoting=quoting)
    for content in (b"".join(lines), b"".join(lines[1:]), as_json(names, rows), as_xml(names, rows)):
        try:
            encoded = content.decode().encode(codec)
        except UnicodeEncodeError:
            continue
        assert_lines_say_what_events_do(encoded, kind, block)
        assert_lines_say_what_events_do(encoded[: len(encoded) // 2], kind, block, whole=True)


@given(
    st.sampled_from(EVENTS),
    st.lists(st.sampled_from(["time", "TIME", "id", "email", "recipient", "ip", "url", "linkinfo", "original", "x",
                              "link_id", "timestamp", "header", "type", "code"]), max_size=9),
    st.lists(st.lists(texts, min_size=9, max_size=9), max_size=3),
    blocks,
)  # fmt: skip  # words, not a column of them
def test_lines_say_what_their_events_do_whatever_the_columns_are(
    kind: LogKind, names: list[str], rows: list[list[str]], block: int
) -> None:
    names = ["time", *names]
    timed = [["2026-11-20 09:00:00", *row[: len(names) - 1]] for row in rows]
    assert_lines_say_what_events_do(b"".join(as_csv(names, timed)), kind, block)
    objects = [dict(zip(names, row, strict=True)) for row in timed]
    assert_lines_say_what_events_do(json.dumps(objects).encode(), kind, block)


@given(days(plain, min_size=2), blocks, st.data())
def test_lines_stand_where_they_say_beside_damaged_ones(day: Day, block: int, data: st.DataObject) -> None:
    kind, names, rows = day
    content = "\ufeff".encode() + b"".join(as_csv(names, rows))
    for _ in range(3):
        place = data.draw(st.integers(3, len(content)))
        piece = data.draw(st.sampled_from([b'"', b"\0", b",", b"\n", b"\xc3\xa9", b",,\n", b"1E+5"]))
        content = content[:place] + piece + content[place:]
    assert_lines_say_what_events_do(content, kind, block)


@given(days(plain, min_size=2), st.data())
def test_how_many_rows_are_looked_at_together_makes_no_difference(day: Day, data: st.DataObject) -> None:
    kind, names, rows = day
    lines = [line for line in as_csv(names, rows) for _ in range(data.draw(st.integers(1, 3)))]
    pieces = st.sampled_from([b'"', b"\n", b",,\n", lines[-1][:9], b'x,"\n', lines[0], b" "])
    for _ in range(3):
        lines.insert(data.draw(st.integers(1, len(lines))), data.draw(pieces))
    content = b"".join(lines)
    together = said_in(content, kind, 1 << 20)
    for number in (1, 2, 3):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(csv_rows, "TOGETHER", number)
            assert said_in(content, kind, 1 << 20) == together


def test_what_was_read_before_a_file_broke_off_counts() -> None:
    class BreaksOff(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if block := super().read(size):
                return block
            raise OSError("no more")

    names, rows = ("id", "time"), [[f"m{number}", "2026-11-20 09:00:00"] for number in range(50)]
    for content in (as_json(names, rows), as_xml(names, rows), b"".join(as_csv(names, rows))):
        lines = iter(Lines(BreaksOff(content), KINDS["cdm-click"], encoding=Encoding.UTF_8))
        assert [getattr(next(lines), "message_id", None) for _ in rows] == [name for name, _ in rows]
        with pytest.raises(OSError, match="no more"):
            next(lines)


# --- damage ---


@given(days(plain, min_size=2), blocks, st.data())
def test_a_damaged_row_takes_no_other_with_it(day: Day, block: int, data: st.DataObject) -> None:
    kind, names, rows = day
    hit = data.draw(st.integers(0, len(rows) - 1))
    lines = as_csv(names, rows)
    before = b"".join(lines[: hit + 1])
    place = data.draw(st.integers(0, len(lines[hit + 1].rstrip())))
    line = lines[hit + 1]
    damaged = data.draw(
        st.sampled_from(
            [
                line[:place] + b'"' + line[place:],
                line[:place] + b"\0" + line[place:],
                line[:place] + b"," + line[place:],
                line[: place or 1] + b"\n",
                line.replace(written(1)[:2].encode(), b"x"),
                b"\xff\xfe\n",
            ]
        )
    )
    others = [event for at, event in enumerate(events(found(b"".join(lines), kind))) if at != hit]
    got = found(before + damaged + b"".join(lines[hit + 2 :]), kind, block)
    assume(not any("resaved by Excel" in one.reason for one in damages(got)))  # a date without its time
    left = events(got)
    assert [event for event in left if event.message_id in {other.message_id for other in others}] == others
    assert damages(got) or len(left) == len(rows)
    for one in damages(got):
        assert before.count(b"\n") < one.number <= (before + damaged).count(b"\n")


@given(days(plain, min_size=2), blocks, st.data())
def test_a_damaged_object_takes_no_other_with_it(day: Day, block: int, data: st.DataObject) -> None:
    kind, names, rows = day
    hit = data.draw(st.integers(0, len(rows) - 1))
    objects = [json.dumps(dict(zip(names, row, strict=True))) for row in rows]
    sign = data.draw(st.sampled_from('{":'))
    objects[hit] = objects[hit].replace(sign, "", 1)
    others = [event for at, event in enumerate(events(found(as_json(names, rows), kind))) if at != hit]
    got = found(f"[{','.join(objects)}]".encode(), kind, block)
    assert (events(got), [one.number for one in damages(got)]) == (others, [hit + 1])


def numbers_and_reasons(*lines: str, kind: LogKind = OPENS, **more: Any) -> list[tuple[int, str]]:
    content = "".join(lines).encode("utf-8", "surrogateescape")
    return [(one.number, getattr(one, "reason", "")) for one in found(content, kind, **more)]


def line(number: int = 0, header: str = "", city: str = "Delft") -> str:
    row = [f"5fd{number}", written(NINE + number), "192.0.2.1", header, f"p{number}@example.nl", "a;b", "NL"]
    return b"".join(
        as_csv((), [[*row, "Netherlands", "ZH", city, "example.nl", "7", "", "12"]], False, 1)
    ).decode()


HEADER = ",".join(OPENS.columns) + "\n"


def test_a_line_that_cannot_be_read_is_reported_with_its_number() -> None:
    short, long = line().replace('"12"', '"12').replace(',"7"', ""), line(1).replace("\n", ",x\n")
    assert numbers_and_reasons(HEADER, line(), line(1, "a: b\nc: d"), "\n", short, line(2), long, line(3)) == [
        (2, ""),
        (3, ""),
        (6, """not CSV: ',' expected after '"'"""),
        (7, ""),
        (8, "15 columns, where 14 are expected"),
        (9, ""),
    ]
    no_time = line().replace("2026-11-20 09:00:00", "2026-02-30 09:00:00")
    assert numbers_and_reasons(HEADER, no_time, line().replace("2026-11-20 09:00:00", ""), line(1, "a\0b")) == [
        (2, "'2026-02-30 09:00:00' is not a valid time"),
        (3, "no time"),
        (4, "NUL bytes"),
    ]


def test_a_quote_that_is_never_closed_swallows_nothing() -> None:
    bare = [line(number).replace('"', "") for number in range(9)]
    opened = bare[0].replace("192", '"192')
    assert [number for number, reason in numbers_and_reasons(HEADER, opened, *bare) if not reason] == [
        *range(3, 12)
    ]
    # Not even where it would not be noticed before the end of the file, which can be far away.
    flood = [line(5, city="x" * 4000).replace('"', "")] * 5_000
    content = "".join([HEADER, opened, *flood]).encode()
    assert len(content) > MAX_RECORD
    got = read(io.BytesIO(content), OPENS)
    assert next(got) == Damage(2, "a quote that is never closed, or the file was cut off")
    assert sum(isinstance(one, Entry) for one in got) == len(flood)


def test_a_field_of_any_size_is_read_without_a_setting_of_the_process() -> None:
    limit = csv.field_size_limit()
    large = 'x"\n,' * limit
    rows = [["1", written(NINE), "a@x.nl", large, "", ""], ["2", written(NINE), "b@x.nl", "", "", ""]]
    names = ("id", "time", "email", "mail", "tags", "senderdomain")
    content = b"".join(as_csv(names, rows))
    got = found(content, KINDS["cdm-abuse"], block=1 << 16)
    assert [event.payload.get("mail") for event in events(got)] == [large, None]
    broken = found(content.replace(b',",,', b',"x,,'), KINDS["cdm-abuse"])
    assert damages(broken) == [Damage(2, "not CSV: no comma or line end after a field")]
    assert [event.message_id for event in events(broken)] == ["2"]
    assert csv.field_size_limit() == limit


CITY = "D\u00e9lft \u2013 \u201cR\u00e9publique\u201d"


def cities(content: bytes, **more: Any) -> list[object]:
    got = found(content, OPENS, **more)
    return [one.reason if isinstance(one, Damage) else one.event.payload["city"] for one in got]


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "cp1252"])
@pytest.mark.parametrize("form", ["csv", "json", "xml", "headless"])
@pytest.mark.parametrize("block", [1, 1 << 20])
def test_a_file_is_read_in_the_encoding_in_which_it_was_saved(codec: str, form: str, block: int) -> None:
    row = next(csv.reader([line(city=CITY)]))
    names = OPENS.columns
    fields = "".join(f"<{name}>{value}</{name}>" for name, value in zip(names, row, strict=True))
    text = {
        "csv": HEADER + line() + line(1, city=CITY),
        "headless": line() + line(1, city=CITY),
        "json": f"[{json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False)}]",
        "xml": f"<records><record>{fields}</record></records>",
    }[form]
    content = text.encode(codec) if codec != "utf-16-be" else b"\xfe\xff" + text.encode(codec)
    assert cities(content, block=block)[-1] == CITY


def test_one_that_is_not_utf_8_is_read_as_windows_1252_throughout() -> None:
    # CAFÉ» in Windows-1252 happens to be a character of UTF-8.
    rows = [line(0, city="CAFÉ»"), line(1, city="Délft"), line(2, city="Zoë")]
    content = "".join([HEADER, *rows]).encode("cp1252")
    assert cities(content) == ["CAFÉ»", "Délft", "Zoë"]


def test_where_most_lines_are_utf_8_each_is_what_it_is() -> None:
    rows = [line(0, city="Délft").encode(), line(1, city="Zoë").encode(), line(2, city="chloé").encode("latin-1")]
    assert cities(HEADER.encode() + b"".join(rows)) == ["Délft", "Zoë", "chloé"]
    assert cities(HEADER.encode() + b"".join(rows[1:])) == ["Zoë", "chloé"]
    objects = [f'{{"time": "2026-11-20 09:00:00", "city": "{city}"}}' for city in ("Délft", "Zoë", "chloé")]
    content = ",\n".join(objects[:2]).encode() + b",\n" + objects[2].encode("cp1252")
    assert cities(b"[" + content + b"]", block=1) == ["Délft", "Zoë", "chloé"]


def test_what_is_no_text_is_not_guessed_at() -> None:
    (why,) = cities(HEADER.encode() + line(city="D\x82lft").encode("latin-1") + b"\x81\n")
    assert str(why).startswith("neither UTF-8 nor Windows-1252")
    (why,) = cities((HEADER + line()).encode("utf-16")[:-1])
    assert "cut off" in str(why)
    # Cut within a character it is still UTF-8.
    assert cities(HEADER.encode() + line(city="chlo").encode() + line(city="chloé").encode()[:-30])[:1] == ["chlo"]


def test_a_declared_encoding_counts_where_the_bytes_allow_it() -> None:
    record = "<record><time>2026-11-20 09:00:00</time><city>é</city></record>"
    text = f'<?xml version="1.0" encoding="{{}}"?><records>{record}</records>'
    assert cities(text.format("ISO-8859-1").encode("latin-1")) == ["é"]
    assert cities(text.format("cp437").encode("cp437")) == ["é"]
    assert cities(text.format("ISO-8859-1").encode()) == ["é"]
    assert cities(text.format("utf-8").encode("cp1252")) == ["é"]


@pytest.mark.parametrize(
    "content",
    [
        HEADER.replace(",", ";") + line().replace('","', ";"),
        HEADER.replace(",", "\t") + line().replace('","', "\t"),
        "sep=;\n" + HEADER + line(),
        line().replace('","', ";").strip('"'),
        HEADER + line().replace("2026-11-20 09:00:00", "20-11-2026 09:14"),
        HEADER + line().replace("2026-11-20 09:00:00", "11/20/2026 9:14 AM"),
        HEADER + line().replace("2026-11-20 09:00:00", "2026-11-20 09:14"),
        HEADER + line().replace("2026-11-20 09:00:00", "20.11.26"),
        line().replace("2026-11-20 09:00:00", "00:14.0"),
        HEADER + line().replace("2026-11-20 09:00:00", "20-nov.-2026 9:14"),
        HEADER + line().replace("2026-11-20 09:00:00", "vrijdag 20 november 2026"),
        HEADER + line().replace("2026-11-20 09:00:00", "Nov 20, 2026 9:14 AM"),
        HEADER + line().replace("2026-11-20 09:00:00", "2026-11-20 9:00:00"),
        HEADER + line().replace("192.0.2.1", "12100146123"),
        HEADER + line().replace('"7"', '"7.0"'),
        HEADER + line().replace("5fd0", "5,12E+15"),
        HEADER + line().replace('"7"', '"7E+05"'),
        HEADER + line().replace('"12"', "'12"),
        HEADER.title() + line().replace("5fd0", "'5fd0"),
        HEADER + line().replace("2026-11-20 09:00:00", "########"),
        HEADER + line().replace("2026-11-20 09:00:00", "9:14"),
        HEADER.replace("\n", ";;\n") + line().replace('"', "").replace("\n", ";\n"),
        line().replace('"', "").replace("\n", ";\n") * 3,
        "".join(f'"{text.rstrip().replace(chr(34), "")}"\n' for text in (HEADER, line())),
    ],
)
def test_a_file_that_excel_has_saved_is_told_in_words_that_help(content: str) -> None:
    ((number, why),) = numbers_and_reasons(content)
    assert (number, why.partition(" (")[0]) == (1, "this looks like a CSV resaved by Excel")
    assert why.endswith("before you open it in Excel")


def test_one_line_with_a_date_of_excel_is_told_too() -> None:
    late = [line(number) for number in range(30)]
    (*_, (number, why)) = numbers_and_reasons(
        HEADER, *late, line().replace("2026-11-20 09:00:00", "20-11-2026 9:14")
    )
    assert number == 32
    assert "'20-11-2026 9:14' is not a valid time: this looks like a CSV resaved by Excel" in why


@pytest.mark.parametrize("sign", ["'5fd0", '"\'5fd0"', "5.12E+15", '"5,12E+15"'])
@pytest.mark.parametrize("block", [1, 64, 1 << 20])
def test_one_id_of_excel_is_told_wherever_it_stands_and_no_name_of_a_town_is(sign: str, block: int) -> None:
    many = [line(number, city="'s-Gravenhage", header="Referer: /?a=1E+5") for number in range(30)]
    got = found("".join([HEADER, *many, line().replace('"5fd0"', sign), *many]).encode(), block=block)
    assert [one.number for one in damages(got)] == [32]
    assert len(events(got)) == 60


def test_an_address_that_became_a_number_is_told_wherever_it_stands() -> None:
    many = [line(number) for number in range(30)]
    got = found("".join([HEADER, *many, line().replace("192.0.2.1", "12100146123"), *many]).encode())
    assert [one.number for one in damages(got)] == [32]
    assert len(events(got)) == 60


def test_an_object_with_the_columns_of_another_kind_is_damage() -> None:
    click = dict.fromkeys(KINDS["cdm-click"].columns, "") | {"time": "2026-11-20 09:00:00"}
    ours = dict.fromkeys(OPENS.columns, "") | {"time": "2026-11-20 09:00:00", "TIME": "x", "new": "y"}
    (entry, damage) = found(json.dumps([ours, click]).encode())
    assert isinstance(entry, Entry)
    assert damage == Damage(
        2, "it has the columns of cdm-click, not of cdm-impression: rename it, or say what it is with --kind"
    )


@pytest.mark.parametrize("kind", KINDS.values())
def test_columns_of_its_own_or_nearly_so_never_make_a_file_one_of_another_kind(kind: LogKind) -> None:
    assert not misnamed(kind.columns, kind)
    assert not misnamed((*kind.columns, "new"), kind)
    for other in KINDS.values():
        alike = any(set(other.columns) <= set(own.columns) for own in KINDS.values() if own.type is kind.type)
        if other.type is not kind.type and not alike:
            assert other.prefix in misnamed(other.columns, kind)


def test_a_byte_order_mark_and_a_second_header_row_are_no_rows() -> None:
    assert numbers_and_reasons("\ufeff", HEADER, line(), HEADER, line(1)) == [(2, ""), (4, "")]
    assert numbers_and_reasons("\ufeff", line()) == [(1, "")]
    assert numbers_and_reasons('\ufeff [{"time": "2026-11-20 09:00:00"}]') == [(1, "")]


def test_a_last_line_without_a_line_end_counts_only_if_the_file_is_known_to_be_whole() -> None:
    content = HEADER, line(), line(1)[:-1]
    assert numbers_and_reasons(*content) == [
        (2, ""),
        (3, "the file ends in the middle: it was cut off, so download it again"),
    ]
    assert numbers_and_reasons(*content, whole=True) == [(2, ""), (3, "")]


def test_columns_of_another_edition_are_believed_if_all_rows_have_them() -> None:
    more = [line(number).replace("\n", ',"x"\n') for number in range(2)]
    fewer = [line(number).rpartition(",")[0] + "\n" for number in range(2)]
    assert [event.payload["column15"] for event in events(found("".join(more).encode()))] == ["x", "x"]
    assert [event.profile for event in events(found("".join(fewer).encode()))] == [7, 7]
    assert ["template" in event.payload for event in events(found("".join(fewer).encode()))] == [False, False]
    wrong = "13 columns, where 14 are expected"
    assert numbers_and_reasons(fewer[0]) == [(1, wrong)]
    assert numbers_and_reasons(*fewer, line()) == [(1, wrong), (2, wrong), (3, "")]
    without_recipient = [",".join(line(number).split(",")[:4]) + "\n" for number in range(2)]
    assert [reason for _, reason in numbers_and_reasons(*without_recipient)] == [
        "4 columns, where 14 are expected"
    ] * 2


@pytest.mark.parametrize("content", ["", "\n", "{header}\n", "[]", " [ ]\n", "<records/>", "<records></records>"])
@pytest.mark.parametrize("kind", [OPENS, KINDS["bounces"]])
def test_a_day_without_events_is_no_damage(content: str, kind: LogKind) -> None:
    assert found(content.format(header=",".join(kind.columns)).encode(), kind) == []


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('[{"time": "2026-11-20 09:00:00"} {"time": "2026-11-20 09:00:00"}]', [1, -2, 2]),
        ('[{"time": "2026-11-20 09:00:00"}] x', [1, -2]),
        ('[1, {"time": "2026-11-20 09:00:00"}, {"time": NaN}]', [-1, 2, -3]),
        ('{"time": "2026-11-20 09:00:00"}\n{"time": "2026-11-20 09:00:00"}\n', [1, 2]),
        ('{"time": "2026-11-20 09:00:00"}\n{"time": "2026-11', [1, -2]),
        ('{"error": {"message": "No such file"}}', [-1]),
        ('["' + "x" * 100 + '"', [-1]),
    ],
)
@pytest.mark.parametrize("block", [1, 1 << 20])
def test_json_is_read_on_behind_what_is_wrong(content: str, told: list[int], block: int) -> None:
    got = found(content.encode(), OPENS, block)
    assert [one.number if isinstance(one, Entry) else -one.number for one in got] == told


@pytest.mark.parametrize("block", [100, 1 << 20])
def test_json_that_is_nested_too_deeply_takes_nothing_with_it(block: int) -> None:
    content = f'[{{"time": "2026-11-20 09:00:00", "x": {"[" * 20_000}}}, {{"time": "2026-11-20 09:00:00"}}]'
    got = found(content.encode(), block=block)
    assert [isinstance(one, Damage) for one in got] == [True, False]


def test_values_of_json_become_text() -> None:
    row = '{"time": "2026-11-20 09:00:00", "id": 12, "tags": ["a", "b"], "x": 1.50, "y": {"z": [true]}, "e": null,'
    row += '"profile": 7, "half": "\\ud83d", "nul": "\\u0000", "yes": true}'
    (event,) = events(found(f"[{row}]".encode()))
    assert (event.message_id, event.tags, event.profile) == ("12", ["a", "b"], 7)
    assert event.payload == {"x": "1.50", "y": '{"z": [true]}', "half": "\ufffd", "nul": "\ufffd", "yes": "true"}


RECORD = "<record><time>2026-11-20 09:00:00</time></record>"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (f'<!DOCTYPE records [<!ENTITY a "b">]><records>{RECORD}</records>', ["1 declares a document type"]),
        (
            f'<!DOCTYPE records SYSTEM "file:///etc/passwd"><records>{RECORD}</records>',
            ["1 declares a document type"],
        ),
        (
            f"<records>{RECORD}<record><id>&a;</id></record>{RECORD}</records>",
            ["1", "2 not XML (undefined entity"],
        ),
        (f"<records>{RECORD}<record><id>5</record>{RECORD}</records>", ["1", "2 not XML (mismatched tag"]),
        (f"<records>{RECORD}{RECORD}", ["1", "2", "3 the file ends in the middle"]),
        (f"<records>{RECORD}<record>x</record>{RECORD}</records>", ["1", "2 text outside its fields", "3"]),
        (f"<records><record><id><b>1</b></id></record>{RECORD}</records>", ["1 <b> within a field", "2"]),
        (f"<records><row/>{RECORD}</records>", ["1 <row>, where <record> is expected", "2"]),
        ("<html><body>Sign in</body></html>", ["1 this is a web page, not a log file"]),
        (f"<records>{RECORD}</records><records/>", ["1", "2 not XML (junk after document element"]),
    ],
)
@pytest.mark.parametrize("block", [1, 1 << 20])
def test_xml_is_read_up_to_what_is_wrong(content: str, told: list[str], block: int) -> None:
    got = [f"{one.number} {getattr(one, 'reason', '')}" for one in found(content.encode(), OPENS, block)]
    assert len(got) == len(told)
    assert all(one.startswith(start) for one, start in zip(got, told, strict=True))


# --- what columns say ---


def event_of(kind: str, /, **columns: str) -> Event:
    row = dict.fromkeys(KINDS[kind].columns, "") | {"id": "5fd2", "time": "2026-11-20 09:00:00"} | columns
    (event,) = events(found(as_json(tuple(row), [list(row.values())]), KINDS[kind]))
    return event


def test_who_read_it_is_in_the_header_block() -> None:
    block = (
        "GET /x.gif HTTP/1.1\r\nHost: x.nl\r\nuser-AGENT:  Mozilla/5.0\r\n\t(X11: 1)\r\nReferer:\nUser-Agent: b\n"
    )
    event = event_of("opens", headers=block)
    assert (event.user_agent, event.referer) == ("Mozilla/5.0 (X11: 1)", None)
    assert event.payload == {"headers": block}
    assert event_of("cdm-click", header="Referer: https://m.nl/?a:b").referer == "https://m.nl/?a:b"


def test_a_failure_tells_what_the_mail_server_said() -> None:
    event = event_of("cdm-error", type="bounce", status="5.1.1", code="550", description="gone")
    assert_has(event, type=EventType.FAILURE, extended="5.1.1", code=550, description="gone")
    assert event.payload == {"log_type": "bounce"}
    event = event_of("pom-errors", status="rejected", code="0550")
    assert (event.extended, event.code, event.payload) == (None, 550, {"status": "rejected", "code": "0550"})


def test_an_open_stays_one_whatever_columns_it_has() -> None:
    event = event_of("opens", code="250", useragent="x", type="click")
    assert event.type is EventType.OPEN
    assert event.payload == {"log_code": "250", "log_useragent": "x", "log_type": "click"}


def test_the_address_in_a_dmarc_report_is_the_reporters() -> None:
    event = event_of("dmarc", organizationName="google.com", email="noreply-dmarc@google.com", messages="3")
    assert (event.type, event.recipient, event.payload["email"]) == ("dmarc", None, "noreply-dmarc@google.com")


def test_columns_of_smtpeter_have_an_order_of_their_own() -> None:
    row = "5fd2,2026-11-20 09:00:00,b@example.nl,p@example.nl,2,a,b,async,550,5.1.1,no such user,bounce,t1;t2,7\n"
    (event,) = events(found(row.encode(), KINDS["failures"]))
    assert_has(event, recipient="p@example.nl", extended="5.1.1", code=550, state="bounce")
    assert (event.tags, event.payload["envelope"], event.payload["log_type"]) == (
        ["t1", "t2"],
        "b@example.nl",
        "async",
    )


def test_values_of_xml_may_stand_on_lines_of_their_own() -> None:
    content = b"""<?xml version="1.0"?>
<records>
  <record>
    <id>
      5fd2
    </id>
    <time>
      2026-11-20 09:00:00
    </time>
    <recipient>
      p@example.nl
    </recipient>
    <tags/>
  </record>
</records>
"""
    (event,) = events(found(content, KINDS["opens"]))
    assert (event.message_id, event.recipient, event.tags) == ("5fd2", "p@example.nl", [])


def test_json_may_bring_numbers_as_numbers() -> None:
    content = (
        b'[{"id":123456789012345678901,"time":"2026-11-20 09:00:00","profile":4711,"code":550,"tags":"","x":1.50}]'
    )
    (event,) = events(found(content, KINDS["cdm-error"]))
    assert (event.message_id, event.profile, event.code) == ("123456789012345678901", 4711, 550)
    assert (event.tags, event.payload) == ([], {"x": "1.50"})


def test_an_attempt_names_its_mailing() -> None:
    event = event_of("cdm-attempts", mailingid="9", profileid="7", databaseid="1", email="a@example.nl")
    assert_has(event, type=EventType.ATTEMPT, mailing=9, profile=7, database=1)
    assert (event.recipient, event.payload) == ("a@example.nl", {})


AMSTERDAM = ZoneInfo("Europe/Amsterdam")


@pytest.mark.parametrize(
    ("text", "zone", "utc"),
    [
        ("2026-11-20 09:00:00", UTC, "2026-11-20 09:00:00"),
        ("2026-11-20T09:00:00.999999+01:00", UTC, "2026-11-20 08:00:00"),
        ("2026-11-20 09:00:00", AMSTERDAM, "2026-11-20 08:00:00"),
        ("2026-07-20 09:00:00", AMSTERDAM, "2026-07-20 07:00:00"),
        ("2026-10-25 02:30:00", AMSTERDAM, "2026-10-25 00:30:00"),  # comes twice: this is the first
        ("2026-03-29 02:30:00", AMSTERDAM, "2026-03-29 01:30:00"),  # never comes
        ("2026-11-20", UTC, None),
        ("1969-12-31 23:59:59", UTC, None),
        ("0001-01-01 00:00:00", AMSTERDAM, None),
        ("2026-11-20 25:00:00", UTC, None),
    ],
)
def test_times_are_read_in_their_zone(text: str, zone: tzinfo, utc: str | None) -> None:
    got = found(as_json(("time",), [[text]]), zone=zone)
    assert [written(event.occurred_at // 1_000_000) for event in events(got)] == ([utc] if utc else [])
    assert bool(damages(got)) == (utc is None)


#: Near to these, the clock of one of the zones changes.
changes = st.sampled_from(
    (datetime(2026, 10, 25, 3), datetime(1972, 1, 7, 0, 44, 30), datetime(2026, 10, 4, 2, 30))
)


@given(
    st.sampled_from((UTC, AMSTERDAM, ZoneInfo("Africa/Monrovia"), ZoneInfo("Australia/Lord_Howe"))),
    st.lists(
        st.datetimes(datetime(1969, 12, 31), datetime(2100, 1, 2))
        | st.builds(datetime.__add__, changes, st.builds(timedelta, seconds=st.integers(-3700, 3700))),
        min_size=1,
    ),
)
def test_the_seconds_of_a_minute_share_what_is_known_of_it(zone: tzinfo, moments: list[datetime]) -> None:
    texts = [f"{moment:%Y-%m-%d %H:%M:%S}" for moment in moments]
    wanted = [int(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()) for text in texts]
    lines = Lines(io.BytesIO(as_json(("time",), [[text] for text in texts])), KINDS["cdm-click"], zone)
    got = [line.second if isinstance(line, Said) else None for line in lines]
    assert got == [second if FIRST_SECOND < second < LAST_SECOND else None for second in wanted]


@pytest.mark.parametrize(
    ("link", "url", "link_id"),
    [
        ("https://example.nl/a", "https://example.nl/a", None),
        ("mailto:jan@example.nl", "mailto:jan@example.nl", None),
        ("www.example.nl", "www.example.nl", None),
        ("/unsubscribe", "/unsubscribe", None),
        ("4711", None, "4711"),
        ("5fd2c1aa90bb", None, "5fd2c1aa90bb"),
        ("", None, None),
    ],
)
def test_a_click_tells_a_links_number_or_address(link: str, url: str | None, link_id: str | None) -> None:
    for prefix in ("cdm-click", "pom-clicks", "cdm-bot-click"):
        content = json.dumps([{"id": "5fd2", "time": "2026-11-20 09:00:00", "linkinfo": link}]).encode()
        (event,) = events(found(content, KINDS[prefix]))
        assert (event.url, event.payload.get("link_id")) == (url, link_id)


# --- to handlers and back ---

odd_names = st.sampled_from(
    ["", "type", "time", "id", "email", "recipient", "url", "linkinfo", "original", "code", "action", "timestamp",
     "useragent", "referer", "header", "headers", "tags", "status", "extended", "state", "log_type", "mailing",
     "mailingid", "profile", "profileid", "a[b]", "a[", "[]", "0", "\0", "é", "x"],
)  # fmt: skip  # words, not a column of them
odd_texts = st.one_of(texts, st.text(max_size=6), st.sampled_from(["\0", "\ud800", "x\\u0000é", "Referer: \0"]))


@pytest.mark.slow
@given(st.sampled_from(EVENTS), st.dictionaries(odd_names, odd_texts), st.integers(0, 2**50))
@example(KINDS["opens"], {"a[": "\\u0000é"}, 1)
def test_handlers_get_the_event_that_was_read(kind: LogKind, row: dict[str, str], received_at: int) -> None:
    row = dict.fromkeys(kind.columns, "") | row
    assume(not misnamed(row, kind))
    content = json.dumps([row | {"time": "2026-11-20 09:00:00"}]).encode()
    (event,) = events(found(content, kind, received_at=received_at))
    event = event._replace(delivery_id=b"123456789012")
    assert event.type is kind.type
    call = read_call(record_of(event))
    assert isinstance(call, Event)
    assert call._replace(source="logfile") == event


# --- files and their names ---


@pytest.mark.parametrize("prefix", KINDS)
def test_a_name_tells_kind_and_day(prefix: str) -> None:
    for name in (
        f"{prefix}.2026-11-04.log",
        f"/var/x.2020-01-01/{prefix}.2026-11-04.log.csv.gz",
        f"a\\{prefix}-2026-11-04",
        f"Copy of {prefix.upper()}.2026-11-04 (1).LOG",
    ):
        assert named(name) == (KINDS[prefix], date(2026, 11, 4))


@pytest.mark.parametrize(
    "name",
    [
        "",
        "cdm-impression",
        "clicks.2026-02-31.log",
        "cdm-x.2026-11-04.log",
        "2026-11-04",
        "x-clicks.2026-11-04.log",
    ],
)
def test_a_name_that_does_not_tell_is_refused_in_a_sentence(name: str) -> None:
    with pytest.raises(LogFileError, match=r"--kind and --day\.$"):
        named(name)


def test_failed_calls_are_read_too() -> None:
    content = 'time,response,recipient,header\n2026-11-20 09:00:00,HTTP 503,a@example.nl,"A: b\nC: d"\nx,,,\n'
    assert list(outages(io.BytesIO(content.encode()))) == [
        Outage(2, NINE * 1_000_000, "HTTP 503", "a@example.nl", "A: b\nC: d"),
        Damage(4, "'x' is not a valid time"),
    ]
    headless = content.partition("\n")[2].encode()
    assert [one.number for one in outages(io.BytesIO(headless))] == [1, 3]
