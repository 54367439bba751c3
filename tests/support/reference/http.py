"""The page of all ports and paths that users may rely on."""

from tests.support.reference.markdown import code, page, table
from tests.support.reference.openapi import document

INTRODUCTION = """\
What can be asked for over HTTP, port by port. Only what is here stays the same from release to release as the
changelog says; pages of the console are for people, and change."""
_ENDPOINT = """\
## The endpoint: `PORT`

All of it is in [openapi.yaml](openapi.yaml), an OpenAPI 3.1 document, with every status and body;
[errors](errors.md#answers-of-the-endpoint) has when each is given. Paths of calls are those of `INGEST_PATH`."""
_METRICS = """\
## Metrics: `INGEST_METRICS_PORT`

With `INGEST_METRICS_TOKEN` set, all but `/healthz` want it as `Authorization: Bearer …`, and answer 401 without.
Errors are JSON as those of the endpoint."""
_METRICS_PATHS = (
    ("`GET /metrics`", "the [metrics](../metrics.md), as text for Prometheus or in OpenMetrics, as `Accept` asks"),
    ("`GET /scale`", "what `ingest scale --json` prints; 503 while Redis or the database does not answer"),
    (
        "`GET /hirefire/{token}/info`",
        "the same for HireFire, which sends the token in the path; 404 without one set",
    ),
    ("`GET /healthz`", '200 with `{"status": "alive"}` while the process is alive'),
)
_CONSOLE = """\
## The console: `INGEST_CONSOLE_PORT`

`GET /healthz` answers 200 while the process is alive, without signing in. Everything else is for a browser;
scripts use the commands with `--json`, or the database."""


def made() -> str:
    """The page."""
    rows = [
        (code(f"{method.upper()} {path}"), operation["summary"], ", ".join(operation["responses"]))
        for path, item in document()["paths"].items()
        for method, operation in item.items()
        if method != "parameters"
    ]
    return page(
        "HTTP",
        INTRODUCTION,
        _ENDPOINT,
        table(("request", "does", "statuses"), rows),
        "HEAD is answered as GET is, without the body.",
        _METRICS,
        table(("request", "answers"), _METRICS_PATHS),
        _CONSOLE,
    )
