"""Crash enumeration: die at every point there is, and come out as if nothing had been (`make crash`)."""
