"""What operators ask for: check, status, erase, follow, retention."""
