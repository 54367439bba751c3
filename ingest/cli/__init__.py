"""The `ingest` command: one module for each group of commands."""
