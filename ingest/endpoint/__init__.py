"""The endpoint: one supervisor, several processes, and what each does with a call."""
