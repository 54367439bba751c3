"""What Copernica sends and how to read it; knows nothing of Redis, RQ, SQL or the server."""
