"""The benchmark: ours beside baselines of its own, in one run, on one machine; see README.md."""
