"""A stand-in for Copernica: realistic signed calls, log files, and a REST API that can fail on demand."""
