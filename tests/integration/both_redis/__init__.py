"""Stream, wake-ups, heartbeats and rates: the same on a real server and on fakeredis."""
