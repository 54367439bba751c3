"""The RQ worker behind `ingest worker`."""
