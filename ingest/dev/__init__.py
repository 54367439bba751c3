"""`ingest dev` and `ingest all`: everything on one machine."""
