"""One event: where it is, its whole way, and what is beside it; for the console and `ingest event`.

finding     which event a delivery id names, or why there is none any more
way         what happened to it, step by step
handing     what still waits of it for handlers, and handing it to one again
beside      the events before and after it, of its message and its recipient
"""
