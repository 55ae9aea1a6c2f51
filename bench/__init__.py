"""Measurements: each prints what it compares, ends with one line of JSON, and exits 1 when a figure does not hold."""
