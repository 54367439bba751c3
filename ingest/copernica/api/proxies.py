"""The proxy that stands between us and a server, as the environment names it."""

from urllib.request import getproxies, proxy_bypass

from yarl import URL


def proxy_for(url: URL) -> URL | None:
    """The proxy of `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` for a URL; None if it is reached directly.

    aiohttp's `trust_env` would look into `~/.netrc` as well, and gives the login that it finds there, perhaps for
    any host at all, in place of our token or beside it.
    """
    proxy = getproxies().get(url.scheme)
    if not proxy or not url.host or proxy_bypass(url.host):
        return None
    return URL(proxy if "://" in proxy else f"http://{proxy}")
