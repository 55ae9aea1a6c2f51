"""The shape of production on one machine: the real Temporal server on PostgreSQL, and two of everything of ours."""
