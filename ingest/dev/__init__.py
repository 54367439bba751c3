"""`ingest dev`: everything on one machine."""
