"""Who looks at a page."""

from dataclasses import dataclass

from aiohttp import web


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who may look."""

    #: As in the audit: the name that a proxy gives, or the role. Empty: they have to sign in first.
    name: str
    #: Whether they may also act.
    may_act: bool
    #: What each form of theirs has to bring (`_csrf`), so that no other site can act in their name.
    csrf: str
    #: Their language, one of `texts.LANGUAGES`.
    language: str
    #: Whether there is a session that they can end.
    signed_in: bool = False
    #: The address of their browser.
    address: str = ""


#: Under which a request has its visitor.
VISITOR = web.RequestKey("visitor", Visitor)


def visitor_of(request: web.Request) -> Visitor:
    """Who made this request."""
    return request[VISITOR]
