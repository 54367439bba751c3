"""Users' functions and scripts, called with what was stored."""
