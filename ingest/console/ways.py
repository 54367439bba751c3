"""Where a browser is sent: only to paths of this console, whatever a link, a form or a header says."""

from urllib.parse import quote, urlsplit

from aiohttp import web
from markupsafe import escape

from ingest.console import assets

#: Characters of a path, with its query, that somebody is brought back to.
LONGEST = 2000
#: In a query: the language that was chosen, and that this page was asked for once more by our own.
LANGUAGE, AGAIN = "lang", "_again"
#: Paths to which nobody is brought back: they are no pages.
_NO_PAGES = ("/login", "/logout", "/live/", "/static/", "/healthz")


def own(path: str) -> str:
    """A path with its query as it is, if it is one of this console's pages; else that of the first page.

    Browsers take `//host` and `/\\host` for another host, and leave out tabs and line ends before they look.
    """
    good = (
        path.startswith("/")
        and not path.startswith("//")
        and "\\" not in path
        and path.isascii()
        and path.isprintable()
        and len(path) <= LONGEST
        and not path.startswith(_NO_PAGES)
    )
    return path if good else "/"


def here(request: web.Request, login: bool = False) -> str:
    """The path of a request with its query, but for what only we put there; that of signing in only if `login`."""
    url = request.rel_url
    kept = url.with_query([(name, value) for name, value in url.query.items() if name not in (LANGUAGE, AGAIN)])
    query = kept.raw_query_string
    path = url.raw_path + (f"?{query}" if query else "")
    return path if login and url.raw_path == "/login" else own(path)


def came_from(request: web.Request, header: str) -> str:
    """The page of ours that a header names, such as Referer: the host in it does not count."""
    try:
        parts = urlsplit(request.headers.get(header, ""))
    except ValueError:
        return "/"
    return own(parts.path + (f"?{parts.query}" if parts.query else ""))


def to_sign_in(page: str, ended: bool) -> str:
    """The address of the page at which somebody signs in, from where they come back to this page."""
    query = [f"next={quote(page, safe='/')}"] if page != "/" else []
    query += ["ended=1"] if ended else []
    return "/login" + (f"?{'&'.join(query)}" if query else "")


def once_more(request: web.Request) -> web.Response:
    """A page that asks for the same page again.

    Who follows a link from elsewhere brings no cookie, as ours is only for our own pages. From this one they bring
    it; a new one in its place would end their session.
    """
    page = here(request, login=True)
    address = escape(f"{page}{'&' if '?' in page else '?'}{AGAIN}=1")
    text = (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Copernica webhooks</title>'
        f'<link rel="icon" href="{assets.address("icon.svg")}" type="image/svg+xml">'
        f'<meta http-equiv="refresh" content="0;url={address}"></head>'
        f'<body><main><h1>Copernica webhooks</h1><p><a href="{address}">Go on</a></p></main></body></html>\n'
    )
    return web.Response(text=text, content_type="text/html")
