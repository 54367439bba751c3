"""Tests that need no process."""
