"""Asking SMTPeter what happened to a message, a recipient, a template or some tags: `ingest events-of`."""
