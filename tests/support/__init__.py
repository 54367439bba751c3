"""What tests share; the only place that tests import from."""
