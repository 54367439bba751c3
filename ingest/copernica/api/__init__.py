"""Copernica's REST API, version 4."""
