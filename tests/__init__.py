"""Tests, fault tests and benchmarks; helpers that they share are in `running`."""
