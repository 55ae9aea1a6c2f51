"""How Alembic reaches the database: the connection that `workers.migrate` opened, one engine for all."""

from typing import Any

from alembic import context
from sqlmodel import AutoString, SQLModel

from models import consent_rows, contact_rows, crm_rows, customers, tables
from models.health import rows

TABLES = (tables, customers, contact_rows, consent_rows, crm_rows, rows)
"""Imported because the imports fill the metadata."""


def plain_text(kind: str, obj: Any, _autogen: Any) -> str | bool:
    """Write SQLModel's text type as the plain one it is."""
    return "sa.String()" if kind == "type" and isinstance(obj, AutoString) else False


connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=SQLModel.metadata,
    render_as_batch=True,
    compare_type=True,
    render_item=plain_text,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
