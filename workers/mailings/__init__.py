"""Figures of mailings: how many messages were opened, what was clicked, why some failed, hour by hour.

    events ─▶ parts (an hour of one type of a mailing) ─▶ figures (a mailing) ─▶ pages, `ingest mailings`

Numbers of events are those of `event_counts`, which are written with the events, so they are exact at any moment.
How many messages that were, and what was most frequent, comes from parts, which a job makes some seconds later: a
part says by `changes` which state of its events it was made from, so whatever is late, recovered, upgraded,
erased or expired makes exactly its own hours stale. What nobody changed is never read again.

    grouping   what is counted as the same: reasons, links, clients
    part       an hour of one type, as a value and as a row
    reading    makes parts from events
    refresh    finds what is stale, and brings it up to date
    merging    makes figures from parts
    figures    what pages and commands show
    listing    the list of mailings, and of tags
    names      what Copernica calls its mailings
    job        the job that does `refresh`, again and again, in a small share of the time
"""
