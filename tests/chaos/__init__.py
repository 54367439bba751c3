"""Tests that break things at random for as long as one likes: `make chaos`."""
