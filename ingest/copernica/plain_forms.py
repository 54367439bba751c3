"""Forms as Copernica writes them, taken apart in one go: for who needs no more than the names and the values.

That is a third of the work of `ingest.copernica.bodies`, which decides what a body means: what is unusual in any
way is not read here. A test compares the two.
"""

from binascii import a2b_qp

from ingest.copernica.bodies import LARGE

#: Most fields of a form that is read here: more than a profile has.
MAX_FIELDS = 256

# Escapes become those of quoted-printable, which the standard library decodes in C, and both signs become the one
# character at which the text is split. Other control characters are not in a form: here they become a NUL.
_SIGN = "\x1f"
_AS_QUOTED_PRINTABLE = bytes.maketrans(b"+=&%" + bytes(range(32)) + b"\x7f", b" \x1f\x1f=" + bytes(33))
_ALL_BUT_SIGNS = bytes(set(range(256)) - set(b"=&"))
#: The signs of a form whose fields all have a value; it ends with that of its last field.
_SIGNS = b"=&" * MAX_FIELDS
#: How JSON begins, and what may come before it.
_LIKE_JSON = b"{[ \xef"


def split(body: bytes) -> list[str] | None:
    """The names and values of a form by turns, `name, value, name, value, …`, or None if it is not a plain one.

    A plain one is UTF-8 without a NUL, has names and values by turns, and no escape is cut off. So its names and
    values are those that `parse_form` finds, and fit any column.
    """
    signs = body.translate(None, _ALL_BUT_SIGNS)
    if len(body) > LARGE or signs != _SIGNS[: len(signs)] or body[:1] in _LIKE_JSON:
        return None
    unescaped = a2b_qp(body.translate(_AS_QUOTED_PRINTABLE))
    # A percent sign that escapes nothing stays an equals sign, or is dropped if it is the last byte.
    if (b"=" in unescaped or body[-1:] == b"%") and len(unescaped) != len(body) - 2 * body.count(b"%"):
        return None
    try:
        text = unescaped.decode()
    except UnicodeDecodeError:
        return None
    parts = text.split(_SIGN)
    # A sign more is one that was escaped; an odd number of parts is a name without a value.
    return None if "\0" in text or len(parts) != len(signs) + 1 or len(parts) % 2 else parts
