"""The `ingest` command: one module for each group of commands, which import what they need only when they run."""
