"""Tests with real servers, in the test's own process."""
