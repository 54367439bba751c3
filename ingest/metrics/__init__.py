"""Figures for Prometheus: counted where the work is done, shown on a port of their own.

    histogram     durations, counted by how long they took
    figures       what one process has counted; written as JSON
    board         memory in which processes of one machine leave their figures for the exporter
    catalogue     all metrics: name, kind, labels, meaning
    exposition    figures as prometheus-client wants them
    exporter      the HTTP server, in a process of its own

See `docs/decisions/metrics.md` for why it is not prometheus-client's multi-process mode.
"""
