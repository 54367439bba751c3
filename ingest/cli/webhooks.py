"""The commands that manage webhooks at Copernica, over its REST API."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import click

from ingest import shown
from ingest.cli import asking
from ingest.cli.amount import Whole
from ingest.cli.audit import noted
from ingest.cli.choices import Listed, OneOf
from ingest.cli.options import json_document, settings_with
from ingest.copernica.api.webhooks import CALLERS, TRIGGER_OF, TRIGGERS, Difference, Webhook, difference
from ingest.copernica.event_types import EventType

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from ingest.copernica.api.client import Copernica

T = TypeVar("T")


class Url(click.ParamType[str]):
    """A URL that Copernica can call."""

    name = "url"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """As it is, if it is one."""
        url = str(value).strip()
        try:
            parts = urlsplit(url)
            good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            good = False
        if not good or not url.isprintable() or " " in url or parts.fragment:
            self.fail(f"{shown.url(url)} cannot be called: write https://example.nl/copernica", param, ctx)
        return url


class Trigger(click.ParamType[str]):
    """What triggers a webhook; the types of events are understood as well."""

    name = "trigger"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """To the name that Copernica has for it."""
        name = str(value).strip().lower()
        if name in TRIGGER_OF:
            return TRIGGER_OF[name]
        is_event = name in set(EventType) - {EventType.UNKNOWN}
        why = "is nothing that REST can make a webhook for" if is_event else "is no trigger"
        likely = shown.did_you_mean(name, TRIGGERS)
        return self.fail(f"{name!r} {why}; there are {', '.join(TRIGGERS)}.{likely}", param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> "list[CompletionItem]":
        """Complete the name that Copernica has for it."""
        return OneOf(TRIGGERS).shell_complete(ctx, param, incomplete)


def limits(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that limit a webhook to some of the account's events."""
    options = (
        click.option(
            "--callers",
            type=Listed(OneOf(CALLERS), "callers"),
            default=(),
            help="Only mailings of these: ms, publisher.  [default: both]",
        ),
        click.option("--database", type=Whole(1), help="Only profiles of this database."),
        click.option("--collection", type=Whole(1), help="Only subprofiles of this collection."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _ask(call: Callable[["Copernica"], Awaitable[T]]) -> T:
    """Do something with a client of these settings.

    Not with one that was open while a person was asked: its connection may have been closed meanwhile, and a
    webhook whose connection is closed while it is being created may or may not exist.
    """
    import asyncio

    from ingest import unencrypted
    from ingest.copernica.api.client import Copernica

    settings = settings_with()

    async def run() -> T:
        for risk in unencrypted.of_api(settings):
            click.echo(f"! {risk.text}", err=True)
        async with Copernica.with_settings(settings) as copernica:
            return await call(copernica)

    return asyncio.run(run())


def _warn(url: str) -> None:
    """Say what is odd about a URL before Copernica calls it."""
    if url.lower().startswith("http:"):
        click.echo(
            f"! {shown.url(url)} is not HTTPS, and Copernica's checklist asks for it: anyone on the way can read "
            "the calls.",
            err=True,
        )
    path, ours = urlsplit(url).path.rstrip("/"), settings_with().path
    if path != ours and not path.startswith(f"{ours}/"):
        click.echo(f"! The endpoint takes calls at {ours}, by these settings, and not at {path or '/'}.", err=True)


@click.group()
def webhooks() -> None:
    """See and change which webhooks Copernica calls. Needs COPERNICA_TOKEN."""


@webhooks.command("list")
@json_document()
def list_(as_json: bool) -> None:
    """List all webhooks of the account."""
    from ingest.cli.render import webhooks as render

    render.listed(_ask(lambda copernica: copernica.webhooks()), as_json)


@webhooks.command()
@click.option("--url", required=True, type=Url(), help="The URL that Copernica is to call.")
@click.option("--trigger", required=True, type=Trigger(), help=f"When: {', '.join(TRIGGERS)}.")
@limits
@json_document(", with the id")
def create(
    url: str, trigger: str, callers: tuple[str, ...], database: int | None, collection: int | None, as_json: bool
) -> None:
    """Create a webhook."""
    from ingest.cli.render import webhooks as render

    _warn(url)
    what = {"url": shown.url(url), "trigger": trigger, "callers": callers, "database": database}
    with noted(settings_with(), "webhooks-create", {**what, "collection": collection}):
        made = _ask(lambda copernica: copernica.create_webhook(url, trigger, callers, database, collection))
    render.made(Webhook(made, url, trigger, callers, database, collection), as_json)


@webhooks.command()
@click.argument("webhook_id", metavar="ID")
@click.option("--url", type=Url(), help="The URL that Copernica is to call from now on.")
@click.option("--trigger", type=Trigger(), help="When.")
@limits
def update(webhook_id: str, **given: Any) -> None:
    """Change those properties of a webhook that are given."""
    if not any(given.values()):
        raise click.UsageError("Say what to change: --url, --trigger, --callers, --database, --collection.")
    if given["url"]:
        _warn(given["url"])
    given["handler"] = given.pop("url")
    changes = {**given, "handler": given["handler"] and shown.url(given["handler"])}
    with noted(settings_with(), "webhooks-update", {"webhook": webhook_id, **changes}):
        _ask(lambda copernica: copernica.update_webhook(webhook_id, **given))
    click.echo(f"Webhook {webhook_id} is changed.")


@webhooks.command()
@click.argument("webhook_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(webhook_id: str, yes: bool) -> None:
    """Delete a webhook: its events are not sent any more."""
    from ingest.cli.render import webhooks as render

    if not yes:
        found = [hook for hook in _ask(lambda copernica: copernica.webhooks()) if hook.id == webhook_id]
        if not found:
            raise click.ClickException(f"There is no webhook {webhook_id}: see `ingest webhooks list`.")
        asking.agreed(f"Delete webhook {render.told(found[0])}?")
    with noted(settings_with(), "webhooks-delete", {"webhook": webhook_id}):
        _ask(lambda copernica: copernica.delete_webhook(webhook_id))
    click.echo(f"Webhook {webhook_id} is deleted.")


@webhooks.command()
@click.option("--url", required=True, type=Url(), help="Where the endpoint is, from outside.")
@click.option(
    "--types",
    "triggers",
    required=True,
    type=Listed(Trigger(), "types"),
    help="Types of events to send there, separated by commas: open,click,…",
)
@click.option("--prune", is_flag=True, help="Delete webhooks of this URL for other types.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_document("; without --yes, only of what would be done")
def setup(url: str, triggers: tuple[str, ...], prune: bool, yes: bool, as_json: bool) -> None:
    """Have Copernica call a URL for these types of events, and show first what that changes.

    What calls other URLs is shown and left alone.
    """
    from ingest.cli.render import webhooks as render

    if not triggers:
        raise click.UsageError("Name at least one type in --types.")
    _warn(url)
    found = difference(url, triggers, _ask(lambda copernica: copernica.webhooks()))
    if not as_json:
        render.compared(url, found, prune)
    to_do = bool(found.missing or (prune and found.superfluous))
    if not to_do and not as_json:
        click.echo("Nothing to do.")
    if to_do and not as_json and not yes:
        asking.agreed("Go on?")
    made: list[Webhook] = []
    apply = to_do and (yes or not as_json)
    if apply:
        what = {"url": shown.url(url), "types": triggers, "prune": prune}
        with noted(settings_with(), "webhooks-setup", what) as number:
            _ask(lambda copernica: _apply(copernica, url, found, prune, made, quiet=as_json))
            number.set(len(made) + (len(found.superfluous) if prune else 0))
    if as_json:
        render.as_json(url, found, prune, apply, made)


async def _apply(
    copernica: "Copernica", url: str, found: Difference, prune: bool, made: list[Webhook], quiet: bool
) -> None:
    """One after the other, each said when it is done: what is cut off in the middle can simply be run again."""
    from ingest.cli.render import webhooks as render

    for trigger in found.missing:
        hook = Webhook(await copernica.create_webhook(url, trigger), url, trigger)
        made.append(hook)
        if not quiet:
            click.echo(f"added    {render.told(hook)}")
    for hook in found.superfluous if prune else ():
        await copernica.delete_webhook(hook.id)
        if not quiet:
            click.echo(f"deleted  {render.told(hook)}")


COMMANDS = (webhooks,)
