"""What `ingest webhooks` prints."""

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from ingest import shown
from ingest.cli.render import console
from ingest.cli.render.console import Column
from ingest.copernica.api.webhooks import Difference, Webhook

#: Columns of the table, as many as fit.
COLUMNS = (Column("id", 8, 10), Column("trigger", 11, 11), Column("url", 30, 1000), Column("limits", 16, 34))


def listed(hooks: Sequence[Webhook], as_json: bool) -> None:
    """`ingest webhooks list`."""
    if as_json:
        _json([hook._asdict() for hook in hooks])
        return
    if not hooks:
        _say("There are no webhooks: make them with `ingest webhooks setup`.")
        return
    longest = max(len(shown.url(hook.handler)) for hook in hooks)
    columns = [one._replace(most=max(one.least, longest)) if one.name == "url" else one for one in COLUMNS]
    widths = console.fitted(columns, console.width())
    sys.stdout.write(console.line({name: name for name in widths}, widths))
    for hook in sorted(hooks, key=lambda hook: (hook.handler, hook.trigger)):
        row = {"id": hook.id, "trigger": hook.trigger, "url": shown.url(hook.handler), "limits": hook.limits}
        sys.stdout.write(console.line(row, widths))


def made(hook: Webhook, as_json: bool) -> None:
    """`ingest webhooks create`."""
    if as_json:
        _json(hook._asdict())
    else:
        _say(f"Created: {told(hook)}.")


def told(hook: Webhook) -> str:
    """A webhook in a few words."""
    parts = (hook.id, f"{hook.trigger} to {shown.url(hook.handler)}", f"({hook.limits})" if hook.limits else "")
    return console.printable(" ".join(part for part in parts if part))


def compared(url: str, found: Difference, prune: bool) -> None:
    """`ingest webhooks setup`: what is there and what will be done, a line each."""
    _lines("+ add", [f"{trigger} to {shown.url(url)}" for trigger in found.missing])
    _lines("= there", map(told, found.there))
    _lines("- delete" if prune else "? extra", map(told, found.superfluous))
    _lines("  other", map(told, found.elsewhere))
    if found.doubled:
        _say(f"! {', '.join(found.doubled)}: registered more than once, so each event is sent more than once.")
    if found.superfluous and not prune:
        _say("The extra ones, for other types, stay: --prune deletes them.")
    if found.elsewhere:
        _say("Those that call another URL stay.")


def _lines(mark: str, texts: Iterable[str]) -> None:
    for text in texts:
        _say(f"{mark:<8}  {console.printable(text)}")


def as_json(url: str, found: Difference, prune: bool, applied: bool, created: Sequence[Webhook]) -> None:
    """The same for a script; `applied` is false where nothing was to be done, too."""
    _json(
        {
            "url": url,
            "applied": applied,
            "missing": found.missing,
            "created": [hook._asdict() for hook in created],
            "there": [hook._asdict() for hook in found.there],
            "doubled": found.doubled,
            "superfluous": [hook._asdict() for hook in found.superfluous],
            "deleted": [hook.id for hook in found.superfluous] if prune and applied else [],
            "elsewhere": [hook._asdict() for hook in found.elsewhere],
        }
    )


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def _json(value: Any) -> None:
    console.print_json(value)
