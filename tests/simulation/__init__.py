"""A simulator of the whole: what becomes of calls between endpoints and database, in a time that is only counted.

    Sender ─▶ Endpoint ─▶ StreamServer ─▶ Worker ─▶ Database ─▶ handlers

`timeline` is the clock, `parameters` what everything costs (the figures of `ingest plan`), `parts` the parts,
`history` what is noted of a run, and `model` puts them together. `measure` records what the real program does
while its database is away, `large` is a million events per second, `picture` draws a run. Only `measure` waits,
opens anything, or asks a clock.
"""
