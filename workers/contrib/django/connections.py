"""Connections to the databases around each call of a handler, as Django has them around each request.

One that failed, that a handler left in a state of its own, or that is as old as `CONN_MAX_AGE` says is closed.
With `CONN_MAX_AGE = 0`, a request ends with its connection, and a connection for each event would take longer than
most handlers: there it lasts for a job, which is a process.

A transaction that a handler leaves open would take in what later calls write, and end with the process, without
anybody having noticed: such a call has failed, and what it wrote is rolled back.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any

from asgiref.sync import sync_to_async
from django.db import connections, reset_queries

from workers.handlers.registry import Handler

#: What libpq calls a connection within a transaction, and one whose transaction has failed.
_OPEN = (2, 3)


def with_fresh_connections(handler: Handler) -> Handler:
    """The same handler, with connections that can be used in each call."""
    return replace(handler, call=(_asynchronous if handler.is_async else _synchronous)(handler.call))


def _synchronous(call: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @wraps(call)
    def called(what: Any) -> Any:
        reset_queries()
        _rest()
        try:
            done = call(what)
        except Exception:
            _leave_transactions()
            raise
        except BaseException:  # broken off anywhere, even in the midst of a query
            _abandon()
            raise
        _require_no_transaction()
        return done

    return called


def _asynchronous(call: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @wraps(call)
    async def called(what: Any) -> Any:
        # Queries of coroutines run in a thread of their own, one after the other, where their connections are.
        await sync_to_async(_rest)()
        try:
            done = await call(what)
        except Exception:
            await sync_to_async(_leave_transactions)()
            raise
        await sync_to_async(_require_no_transaction)()
        return done

    return called


def _require_no_transaction() -> None:
    """Raise RuntimeError if a call that returned has left a transaction open."""
    if left := _leave_transactions():
        raise RuntimeError(
            f"The handler left a transaction open in the database {', '.join(left)}: what it wrote there was "
            "rolled back. Use transaction.atomic() in a `with`."
        )


def _leave_transactions() -> list[str]:
    """Roll back what is open, and name the databases where there was something; close what cannot be used."""
    left = []
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block:
            _forget(connection)
            left.append(connection.alias)
        elif _is_in_transaction(connection):
            connection.connection.rollback()
            if connection.settings_dict["AUTOCOMMIT"]:  # else each query begins one
                left.append(connection.alias)
    _rest()
    return left


def _is_in_transaction(connection: Any) -> bool:
    """Whether a statement of the handler's own has begun a transaction that goes on, as far as a driver tells."""
    driver = connection.connection
    if driver is None:
        return False
    if connection.vendor == "postgresql":
        return driver.info.transaction_status in _OPEN
    return bool(getattr(driver, "in_transaction", False))


def _rest() -> None:
    """Close the connections that should not be used any more."""
    for connection in connections.all(initialized_only=True):
        if connection.settings_dict["CONN_MAX_AGE"] == 0:
            connection.close_at = None
        connection.close_if_unusable_or_obsolete()


def _abandon() -> None:
    """Forget all connections."""
    for connection in connections.all(initialized_only=True):
        _forget(connection)


def _forget(connection: Any) -> None:
    """Close it for good: a wrapper that was left within `atomic` would stay there."""
    connection.close()
    del connections[connection.alias]
