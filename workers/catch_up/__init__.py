"""Filling gaps from Copernica's results, minutes after they ended and before the day's log files are there.

    gap ─▶ its results over REST (`fetching`) ─▶ put on a `shelf` on disk ─▶ which message each is of (`messages`),
    and whose (`recipients`) ─▶ compared with the store and what is missing inserted (`workers.reconcile`) ─▶ the
    gap closed, or looked at again (`closing`)

`look` is one look at one period, `job` what a worker does by itself, `by_hand` what `ingest catch-up` does.
"""
