"""The stream between the endpoint and the workers, in Redis.

    keys        the names of all keys, and what each is for: known here and nowhere else
    producer    the endpoint's side, asynchronous: `Producer` gathers calls and writes them in batches
    breaker     whether calls are written to Redis, or go around it
    consumer    the workers' side, blocking: `Consumer` claims and acknowledges, and reports how it goes

The stream is the truth. RQ jobs (`ingest.jobs`) only wake, so one lost, doubled or killed costs nothing.
"""
