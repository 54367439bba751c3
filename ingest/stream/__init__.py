"""The stream between the endpoint and the workers, in Redis.

    keys           the names of all keys, and what each is for: known here and nowhere else
    producer       the endpoint's side, asynchronous: `Producer` gathers calls and writes them in batches
    breaker        whether calls are written to Redis, or go around it
    consumer       the workers' side, blocking: `Consumer` claims batches and acknowledges them
    heartbeats     who is alive, and `reports`: what each says of itself
    announcements  which events were stored, for those who follow
    suspects       batches that were being read when a drain died
    known_keys     Copernica's public keys, as all processes know them
    trial          whether Redis does all of this for us now

The stream is the truth. RQ jobs only wake workers, so one that is lost, doubled or killed costs nothing; they are
put on their queues by `ingest.jobs`, of which the stream knows nothing.
"""
