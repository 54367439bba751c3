"""The client of Copernica's REST API, version 4: calls for whoever knows its paths, log files, webhooks."""

from typing import Any

from ingest.copernica.api.calls import unexpected_answer
from ingest.copernica.api.logfile_calls import LogFileCalls
from ingest.copernica.api.webhook_calls import WebhookCalls


class Copernica(LogFileCalls, WebhookCalls):
    """A client of one account, to be used as `async with Copernica(token) as api`.

    `get`, `post`, `put`, `delete` and `pages` take the paths of Copernica's documentation; the other methods know
    theirs. Every call raises a `RestError` if it still fails after all attempts; its message says what to do and
    holds no token.
    """

    async def identity(self) -> dict[str, Any]:
        """What Copernica says about the account that the token belongs to: its id, name and company."""
        account = await self.get("/identity", about="name the account")
        if not isinstance(account, dict):
            raise unexpected_answer("name the account")
        return account
