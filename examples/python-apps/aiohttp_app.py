"""Copernica's calls and pages of your own, in one aiohttp application."""

from aiohttp import web

from ingest.endpoint.mounting import mount


async def hello(_request: web.Request) -> web.Response:
    """A page of yours."""
    return web.Response(text="hello")


def create_app() -> web.Application:
    """Your application, which takes Copernica's calls at INGEST_PATH."""
    app = web.Application()
    app.router.add_get("/", hello)
    mount(app)
    return app


if __name__ == "__main__":
    web.run_app(create_app(), host="127.0.0.1", port=8000)
