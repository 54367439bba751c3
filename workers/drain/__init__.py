"""From the stream into the store."""
