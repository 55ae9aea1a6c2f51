"""Alembic migrations: every table since the first."""
