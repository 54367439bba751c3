"""Totals: for each mailing of a day, how many results Copernica counts, beside the events of the store.

    audit    asks and compares, day by day: what `ingest audit-mailings` and the daily job do
    ours     what the store has
    theirs   what Copernica counts
    compare  what differs, and the likely cause
    report   the result as values
    history  what was found, kept in `mailing_totals`; and which days agree
    daily    which days are due

Log files are compared line by line; totals are what tells that a log file itself lacked something. What exactly
decides about a day is in docs/decisions/totals.md.
"""
