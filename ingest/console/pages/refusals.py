"""Refused calls: how many for which reason, what each means, and a few of them as they came."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from aiohttp import web

from ingest.console.marking import _
from ingest.console.reading import reading_of
from ingest.console.rendering import page
from ingest.errors import Unavailable
from ingest.stream.heartbeats import Heartbeats
from ingest.stream.refusals import Refusal, Refusals

routes = web.RouteTableDef()

#: Names that are counted of one reason: what the calls were addressed to, and what they named.
MOST_NAMES = 8

#: What each reason means, and what to look at. The first are those that a wrong setting of ours causes.
MEANINGS: Mapping[str, tuple[str, str]] = {
    "wrong-host": (
        _("The call is addressed to a host that INGEST_HOSTS does not name."),
        _("If one of these hosts is yours, add it to INGEST_HOSTS; a proxy has to pass on Host as it came."),
    ),
    "wrong-account": (
        _("The call is of an account that INGEST_ACCOUNTS does not name."),
        _("If one of these accounts is yours, add it to INGEST_ACCOUNTS."),
    ),
    "too-old": (
        _("The call was signed longer ago than INGEST_MAX_AGE allows."),
        _(
            "See that this machine's clock is right, and that nothing between holds calls back. Copies of old "
            "calls are refused so, too."
        ),
    ),
    "too-new": (
        _("The call was signed in the future."),
        _("See that this machine's clock is right: it is behind."),
    ),
    "key-unavailable": (
        _(
            "DNS does not answer what the signer's public key is; the call was answered 503, and is lost until it "
            "is recovered."
        ),
        _("See that this machine reaches its DNS resolvers: ingest check."),
    ),
    "404": (
        _("There is nothing at this path."),
        _("Compare the URL that Copernica calls with INGEST_PATH."),
    ),
    "413": (_("The body is larger than INGEST_MAX_BODY."), _("If it was Copernica's, raise INGEST_MAX_BODY.")),
    "wrong-digest": (
        _("The body is not the one that was signed."),
        _("Something between changes bodies: it must pass them on byte by byte."),
    ),
    "wrong-signature": (
        _("The signature does not fit: the call is forged, or was changed on its way."),
        _("If all of your calls are refused so, something between changes the path or a header."),
    ),
    "absent-header": (
        _("The signature covers a header that did not arrive."),
        _("Something between drops headers: it must pass them on."),
    ),
    "repeated-header": (
        _("A header that the signature covers came twice."),
        _("Something between adds a header that is there already."),
    ),
    "no-signature": (
        _("The call is not signed."),
        _("Strangers do this all the time. If it was Copernica's, something between drops the header Signature."),
    ),
    "bad-signature-header": (_("The header Signature cannot be read."), ""),
    "bad-date": (_("The header Date is missing, or cannot be read."), ""),
    "bad-digest": (_("The header Digest is missing, or cannot be read."), ""),
    "not-covered": (_("The signature does not cover all that it has to."), ""),
    "bad-key-id": (_("The key that it names is none of Copernica's."), ""),
    "bad-algorithm": (_("It is signed in a way that Copernica does not use."), ""),
    "unknown-key": (_("DNS knows no key of the name that it gives."), ""),
    "revoked-key": (_("The key that it names was withdrawn."), ""),
    "bad-key": (_("The key that DNS has cannot be used."), ""),
    "400": (_("It is no request that can be read."), ""),
    "405": (_("The method is not POST."), ""),
    "408": (_("It did not arrive in time."), ""),
    "414": (_("Its path is too long."), ""),
    "415": (_("Its body is compressed, which Copernica never does."), ""),
}
_PLACES = {reason: place for place, reason in enumerate(MEANINGS)}


@dataclass(slots=True)
class Group:
    """Refusals of one reason."""

    reason: str
    #: How many since the endpoints started; None if they do not count it.
    number: int | None
    sample: list[Refusal] = field(default_factory=list)

    @property
    def meaning(self) -> str:
        """What it means."""
        return MEANINGS.get(self.reason, ("", ""))[0]

    @property
    def check(self) -> str:
        """What to look at."""
        return MEANINGS.get(self.reason, ("", ""))[1]

    @property
    def named(self) -> list[tuple[str, int]]:
        """What the sample named that was wrong, the most frequent first."""
        names = Counter(one.host if self.reason == "wrong-host" else one.named.strip("'\"") for one in self.sample)
        names.pop("", None)
        return names.most_common(MOST_NAMES)


@routes.get("/refusals")
async def refusals(request: web.Request) -> web.Response:
    """All reasons for which calls were refused, and a sample of each."""
    reading = reading_of(request)
    groups, why = None, ""
    try:
        numbers, sample = await reading.redis(
            lambda client: (_numbers(Heartbeats(client)), Refusals(client).all())
        )
        groups = grouped(numbers, sample)
    except Unavailable as error:
        why = str(error)
    settings = reading.settings
    return page(
        request,
        "refusals.html",
        status=200 if groups is not None else 503,
        groups=groups,
        why=why,
        allowed={"wrong-host": ", ".join(settings.hosts), "wrong-account": ", ".join(settings.accounts)},
    )


def _numbers(heartbeats: Heartbeats) -> Counter[str]:
    reports = heartbeats.reports().endpoints.values()
    return sum((Counter(report.refused) for report in reports), Counter())


def grouped(numbers: Mapping[str, int], sample: Iterable[Refusal]) -> list[Group]:
    """By reason: first those that something of ours may cause."""
    groups = {reason: Group(reason, number) for reason, number in numbers.items() if number}
    for one in sample:
        groups.setdefault(one.reason, Group(one.reason, None)).sample.append(one)
    return sorted(groups.values(), key=lambda group: (_PLACES.get(group.reason, len(_PLACES)), group.reason))
