"""Copernica's daily log files, read as events."""
