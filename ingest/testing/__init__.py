"""For the tests of your own handlers: events as Copernica sends them, and a worker that runs in the test.

    from ingest import testing

    def test_a_click_is_noted(copernica):           # a fixture; it comes with this package
        copernica.use("myapp")                      # your module, as in INGEST_HANDLERS
        copernica.give(testing.click(recipient="jan@example.nl"))
        assert …

`open`, `click` and the others make an event of each type, `event` one of any. The fixture is a `Workbench`: it
calls handlers by the code that workers have, so retries, halved batches, time limits and dead letters are as in
production, but its clock stands still until the test moves it. `forwarded` makes the call that a forward target
gets, the fixture `simulated_copernica` those that an endpoint gets, and the fixture `copernica_api` is a fake of
Copernica's REST API. docs/how-to/test-handlers.md shows it all.
"""

from ingest.testing.api import FakeApi
from ingest.testing.calls import Call, SimulatedCopernica, forwarded
from ingest.testing.events import (
    Factory,
    abuse,
    attempt,
    bot_click,
    bounce,
    click,
    delivery,
    dmarc,
    event,
    failure,
    open,  # the name that Copernica has for it
    profile_create,
    profile_delete,
    profile_update,
    response,
    retry,
    subprofile_create,
    subprofile_delete,
    subprofile_update,
    unknown,
    unsubscribe,
)
from ingest.testing.results import HandlerCall, Summary, Waiting
from ingest.testing.workbench import Workbench

__all__ = [
    "Call",
    "Factory",
    "FakeApi",
    "HandlerCall",
    "SimulatedCopernica",
    "Summary",
    "Waiting",
    "Workbench",
    "abuse",
    "attempt",
    "bot_click",
    "bounce",
    "click",
    "delivery",
    "dmarc",
    "event",
    "failure",
    "forwarded",
    "open",
    "profile_create",
    "profile_delete",
    "profile_update",
    "response",
    "retry",
    "subprofile_create",
    "subprofile_delete",
    "subprofile_update",
    "unknown",
    "unsubscribe",
]
