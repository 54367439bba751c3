"""Connections to the databases around each call of a handler, as Django has them around each request.

One that failed, that a handler left in a state of its own, or that is as old as `CONN_MAX_AGE` says is closed.
With `CONN_MAX_AGE = 0`, a request ends with its connection, and a connection for each event would take longer than
most handlers: there it lasts for a job, which is a process.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any

from asgiref.sync import sync_to_async
from django.db import connections, reset_queries

from workers.handlers.registry import Handler


def with_fresh_connections(handler: Handler) -> Handler:
    """The same handler, with connections that can be used in each call."""
    return replace(handler, call=(_asynchronous if handler.is_async else _synchronous)(handler.call))


def _synchronous(call: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @wraps(call)
    def called(what: Any) -> Any:
        reset_queries()
        _rest()
        try:
            return call(what)
        except Exception:
            raise
        except BaseException:  # broken off anywhere, even in the midst of a query
            _abandon()
            raise
        finally:
            _rest()

    return called


def _asynchronous(call: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @wraps(call)
    async def called(what: Any) -> Any:
        # Queries of coroutines run in a thread of their own, one after the other, where their connections are.
        await sync_to_async(_rest)()
        return await call(what)

    return called


def _rest() -> None:
    """Close the connections that should not be used any more."""
    for connection in connections.all(initialized_only=True):
        if connection.settings_dict["CONN_MAX_AGE"] == 0:
            connection.close_at = None
        connection.close_if_unusable_or_obsolete()


def _abandon() -> None:
    """Forget all connections; a wrapper that was broken off within a transaction would never leave it."""
    for connection in connections.all(initialized_only=True):
        connection.close()
        del connections[connection.alias]
