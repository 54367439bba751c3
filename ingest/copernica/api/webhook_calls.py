"""The calls for webhooks: list, create, change, delete.

The facts come from Copernica's articles on `/webhooks` and `/webhook` in REST v4.
"""

from collections.abc import Iterable
from typing import Any

from ingest.copernica.api.calls import Calls, unexpected_answer
from ingest.copernica.api.webhooks import Webhook
from ingest.errors import NotFound

#: Webhooks that an account can have: a list without end is not of Copernica's making.
MAX_WEBHOOKS = 100_000


class WebhookCalls(Calls):
    """Calls for webhooks."""

    async def webhooks(self) -> list[Webhook]:
        """All webhooks of the account."""
        webhooks: dict[str, Webhook] = {}
        async for entry in self.pages("/webhooks", about="list webhooks"):
            webhook = Webhook.from_json(entry)
            webhooks[webhook.id] = webhook
            if len(webhooks) > MAX_WEBHOOKS:
                raise unexpected_answer("list webhooks")
        return list(webhooks.values())

    async def create_webhook(
        self,
        handler: str,
        trigger: str,
        callers: Iterable[str] = (),
        database: int | None = None,
        collection: int | None = None,
    ) -> str:
        """Register a webhook, and return its id, empty if Copernica does not tell.

        Raises:
            OutcomeUnknown: the connection was lost; it may be registered. The caller has to check.
        """
        body = _given(handler=handler, trigger=trigger, callers=callers, database=database, collection=collection)
        return await self.post("/webhooks", body, about=f"create a webhook for {trigger}")

    async def update_webhook(
        self,
        webhook_id: str,
        handler: str | None = None,
        trigger: str | None = None,
        callers: Iterable[str] = (),
        database: int | None = None,
        collection: int | None = None,
    ) -> None:
        """Change what is given of a webhook, and leave the rest."""
        body = _given(handler=handler, trigger=trigger, callers=callers, database=database, collection=collection)
        path = _webhook_path(webhook_id)
        there = await self.get(path, about=f"show webhook {webhook_id}")
        if isinstance(there, dict):
            # "If no callers are specified, all possible callers are applied": what is not sent may be lost.
            _, *before = Webhook.from_json(there)
            body = _given(**dict(zip(Webhook._fields[1:], before, strict=True))) | body
        await self.put(path, body, about=f"change webhook {webhook_id}")

    async def delete_webhook(self, webhook_id: str) -> None:
        """Delete a webhook. One that is deleted already is as it should be."""
        await self.delete(_webhook_path(webhook_id), about=f"delete webhook {webhook_id}")


def _given(**values: Any) -> dict[str, Any]:
    """The parameters that were given, as a body."""
    values["callers"] = list(values["callers"])
    return {name: value for name, value in values.items() if value not in (None, [])}


def _webhook_path(webhook_id: str) -> str:
    if not (webhook_id.isascii() and webhook_id.isalnum()):
        raise NotFound("Not the id of a webhook: `ingest webhooks list` shows them.")
    return f"/webhook/{webhook_id}"
