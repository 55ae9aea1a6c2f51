"""Coverage-guided fuzzing of everything strangers can reach: `make fuzz`, and what it found, replayed for ever."""
