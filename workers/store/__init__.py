"""The store: where events end up, in SQLite, PostgreSQL or MariaDB."""
