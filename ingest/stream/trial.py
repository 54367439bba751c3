"""Tries, on keys of its own, what endpoints, workers and rq ask of Redis: does it take all of it from us now?

A replica, a full Redis, one without its replicas, and a user without rights answer a PING all the same.
"""

import secrets
from contextlib import suppress

import redis

from ingest.stream.consumer import GROUP
from ingest.stream.keys import Keys

#: Seconds after which what a trial has left is gone, if it was killed in the middle.
TRIAL_TTL = 60
# As an endpoint writes a batch.
_APPEND = """
redis.call('XADD', KEYS[1], '*', 'b', 'trial')
redis.call('HINCRBY', KEYS[2], 'accepted', 1)
return redis.call('SET', KEYS[3], 1, 'NX', 'EX', ARGV[1])
"""


def try_commands(client: redis.Redis, partition: int = 0) -> None:
    """Do everything once, and remove what came of it.

    Raises:
        redis.RedisError: the first refusal.
    """
    keys = Keys(partition)
    ours, rqs = f"{keys.trial}:{secrets.token_hex(4)}", f"rq:{keys.trial}:{secrets.token_hex(4)}"
    stream, counts, wake = f"{ours}:stream", f"{ours}:counts", f"{ours}:wake"
    members, waiting, taken, due = f"{rqs}:set", f"{rqs}:list", f"{rqs}:taken", f"{rqs}:sorted"
    try:
        client.eval(_APPEND, 3, stream, counts, wake, TRIAL_TTL)
        client.xgroup_create(stream, GROUP, id="0")
        client.xreadgroup(GROUP, "trial", {stream: ">"}, count=1)
        client.xautoclaim(stream, GROUP, "trial", 0, "0-0", count=1)
        client.xpending(stream, GROUP)
        client.xinfo_consumers(stream, GROUP)
        client.publish(keys.stored, b"")
        with client.pipeline(transaction=True) as transaction:
            transaction.xdel(stream, "0-1")
            transaction.hset(counts, "drained", "1")
            transaction.sadd(members, "trial")
            transaction.lpush(waiting, "trial")
            transaction.zadd(due, {"trial": 1})
            for key in (stream, counts, members, waiting, due):
                transaction.expire(key, TRIAL_TTL)
            transaction.execute()
        client.blmove(waiting, taken, 1, "RIGHT", "LEFT")
        client.expire(taken, TRIAL_TTL)
        with client.pubsub(ignore_subscribe_messages=True) as channel:  # type: ignore[no-untyped-call]
            channel.subscribe(keys.stored)
            channel.get_message(timeout=1.0)
    finally:
        with suppress(redis.RedisError):
            client.delete(stream, counts, wake, members, waiting, taken, due)
