"""A head whose shape was learned is read as any other, only faster."""

from hypothesis import example, given
from hypothesis import strategies as st

from ingest.endpoint import shapes
from ingest.endpoint.plain import Plain, Read
from ingest.endpoint.shapes import SHAPES_MAX, Shape
from tests.support.signing import Signer, documented

HEADERS = Signer().call().headers


def head(headers: list[tuple[bytes, bytes]], target: bytes = b"/copernica/open?x=1") -> bytes:
    return b"POST %b HTTP/1.1\r\n%b\r\n" % (target, b"".join(b"%b: %b\r\n" % header for header in headers))


def read(data: bytes, taught_by: bytes = b"") -> Read | None:
    plain = Plain("/copernica", 10_000)
    if taught_by:
        plain.learn(taught_by)
        if taught_by == GENUINE:
            assert plain.read(GENUINE) is not None
    found = plain.read(data)
    return found and (*found[:4], False)


GENUINE = head(HEADERS)
GIVEN = [
    *(
        "",
        " ",
        "\t",
        " a",
        "a ",
        "a\t",
        "\ta",
        "a\tb",
        "a  b",
        "a:b",
        "\r\n b",
        "\r\nX: b",
        "\r\n\r\n",
        "\x00",
        "é",
    ),
    *("\x7f", "a\rb", "a\nb", "3", "03", "+3", "99999999", "close", "Keep-Alive", "upgrade", "/copernica", "%"),
]
pieces = st.sampled_from([given.encode() for given in GIVEN]) | st.binary(max_size=4)
unusual = st.lists(
    st.tuples(st.sampled_from([b"X", b"Connection", b"X-Copernica-ID", b"host", b"TE", b"a'b"]), pieces),
    max_size=3,
)


@given(data=st.data(), more=unusual, piece=pieces)
def test_no_head_is_read_otherwise_once_its_shape_is_known(
    data: st.DataObject, more: list[tuple[bytes, bytes]], piece: bytes
) -> None:
    known = head(data.draw(st.permutations([*HEADERS, *more])))
    at = data.draw(st.integers(0, len(known)))
    end = data.draw(st.integers(at, min(len(known), at + 40)))
    other = known[:at] + piece + known[end:]
    if read(known) is None:
        known = GENUINE
    assert read(other, taught_by=known) == read(other)
    assert read(known, taught_by=known) == read(known)


@given(number=st.integers(0, len(HEADERS) - 1), value=pieces)
@example(number=0, value=b"hooks.example.nl ")
def test_no_value_is_read_otherwise_once_its_shape_is_known(number: int, value: bytes) -> None:
    name, _ = HEADERS[number]
    other = head([*HEADERS[:number], (name, value), *HEADERS[number + 1 :]])
    assert read(other, taught_by=GENUINE) == read(other)


def test_what_is_usual_is_learned_and_what_is_not_is_left_alone() -> None:
    shape = Shape.of(GENUINE)
    assert shape is not None
    assert shape.names == tuple(name.lower() for name, _ in HEADERS)
    assert shape.pattern.match(GENUINE)
    folded = head(Signer(form=documented).call().headers)
    many = head([*HEADERS, *((b"X%d" % number, b"1") for number in range(shapes.HEADERS_MAX))])
    long = head([*HEADERS, (b"X", b"x" * shapes.HEAD_MAX)])
    for one in (folded, many, long, head([*HEADERS, (b"X", b"")]), head([*HEADERS, (b"X", b"a\tb")])):
        assert read(one) is not None
        assert Shape.of(one) is None


def test_few_shapes_are_known_and_one_is_learned_at_a_time() -> None:
    known = shapes.Shapes()
    heads = [head([*HEADERS, (b"X%d" % number, b"1")]) for number in range(SHAPES_MAX + 1)]
    assert known.may_grow()
    for one in heads * 2:
        known.learn(one)
        assert not known.may_grow()
    assert [known.read(one, 0) is None for one in heads] == [True] + [False] * SHAPES_MAX
