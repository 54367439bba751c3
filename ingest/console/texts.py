"""What pages say, in the visitor's language.

English is what templates and modules are written in. Of each other language there is a folder of `.po` files, one
for each group of pages, which are read at the start: there is nothing to compile. Where one lacks a text, English
is shown.
"""

from collections.abc import Iterator
from functools import cache
from gettext import GNUTranslations, NullTranslations
from importlib.resources import files
from io import BytesIO

from aiohttp import web
from babel import Locale
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

#: Those that there are, by how they call themselves; the first is what everything is written in.
LANGUAGES = {"en": "English", "nl": "Nederlands"}
#: What numbers and dates look like in each.
LOCALES = {"en": Locale("en", "GB"), "nl": Locale("nl", "NL")}


@cache
def translations(language: str) -> NullTranslations:
    """All texts of a language."""
    whole = Catalog(locale=language)
    for catalogue in catalogues(language):
        for message in catalogue:
            if message.id and message.string and not message.fuzzy:
                whole.add(message.id, message.string, context=message.context)
    if not len(whole):
        return NullTranslations()
    compiled = BytesIO()
    write_mo(compiled, whole)
    compiled.seek(0)
    return GNUTranslations(compiled)


def catalogues(language: str) -> Iterator[Catalog]:
    """The files of a language; English has none."""
    folder = files("ingest.console") / "locale" / language
    if not folder.is_dir():
        return
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".po"):
            with file.open("rb") as opened:
                yield read_po(opened, locale=language)


def preferred(request: web.Request) -> str:
    """The language that a browser asks for first, of those that there are."""
    wanted = []
    for place, part in enumerate(request.headers.get("Accept-Language", "")[:500].split(",")):
        name, _, weight = part.strip().partition(";q=")
        try:
            wanted.append((-float(weight or 1), place, name.partition("-")[0].lower()))
        except ValueError:
            continue
    known = [name for _, _, name in sorted(wanted) if name in LANGUAGES]
    return known[0] if known else "en"
