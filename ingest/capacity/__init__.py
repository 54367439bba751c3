"""Capacity on paper: how much of everything a rate of events takes (`ingest plan`).

`amounts` reads what people type, `figures` are what was measured on one machine, `planning` is the arithmetic.
Nothing here asks a server or a clock.
"""
