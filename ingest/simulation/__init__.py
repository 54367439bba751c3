"""Stands in for Copernica: realistic signed calls, log files, and a REST API that fails on demand."""
