"""Alerts: what is wrong is told once, and once more when it is over.

ingest.lookout   in endpoints and workers: whose turn it is to look, and a process of its own for it
look             one look: what is wrong now, compared with what was told, and what is to be told of it
silence          whether it has been quiet for longer than is usual at this hour of the week
rising           whether something happens more often than usual
delivery         to a URL, by mail
"""
