"""The store: where events end up, in SQLite or PostgreSQL."""
