"""What a running `ingest dev` tells the commands that are typed beside it."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ingest import setting_sources, shown
from ingest.errors import Unavailable
from ingest.settings import SHOWN_AS_URLS, Settings

#: Settings that are paths, each with a value that is none.
PATHS = {
    "INGEST_SPOOL_DIR": "off",
    "INGEST_KEYS": "dns",
    "INGEST_VALIDATION_FILES": "",
    "INGEST_DATA_DIR": "",
    "INGEST_REDIS_CERT": "",
    "INGEST_REDIS_KEY": "",
}


@contextmanager
def told(folder: Path, environ: Mapping[str, str]) -> Iterator[None]:
    """For as long as the block runs, commands know the settings in this environment, those without secrets.

    Raises:
        Unavailable: the data folder cannot be written.
    """
    values, withheld = without_secrets(environ)
    with ExitStack() as stack:
        try:
            stack.enter_context(setting_sources.told(folder, values, withheld))
        except OSError as error:
            raise Unavailable(
                f"The data folder {folder} cannot be used ({error.strerror}): choose another with --data-dir."
            ) from None
        yield


def without_secrets(environ: Mapping[str, str]) -> tuple[dict[str, str], set[str]]:
    """The settings in an environment that anybody may know, and the names of the others."""
    values: dict[str, str] = {}
    withheld = set()
    for name, field in Settings.names().items():
        if not (value := environ.get(name)):
            continue
        if field.repr or (name in SHOWN_AS_URLS and all(map(_is_public, value.split(",")))):
            values[name] = _from_anywhere(name, value)
        else:
            withheld.add(name)
    return values, withheld


def _from_anywhere(name: str, value: str) -> str:
    """The same where it is read in another working directory."""
    scheme, separator, path = value.partition("sqlite:///")
    if name == "DATABASE_URL" and separator:
        return f"{scheme}{separator}{Path(path).absolute()}"
    return str(Path(value).absolute()) if PATHS.get(name, value.lower()) != value.lower() else value


def _is_public(url: str) -> bool:
    return shown.url(url) == url.strip().partition("#")[0]
