"""The store against Copernica's log files."""
