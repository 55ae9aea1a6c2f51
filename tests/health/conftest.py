"""Health is tested on both databases."""

from tests.models.conftest import both
from tests.models.postgres import postgres

__all__ = ["both", "postgres"]
