"""Health: readings of metrics, where each account stands by every model, and when that changed

Revision: 0008, after 0007
"""

import sqlalchemy as sa
from alembic import op

import models.tables

revision = '0008'
down_revision = '0007'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('account_metrics',
    sa.Column('account_id', sa.String(), nullable=False),
    sa.Column('readings', sa.JSON(), nullable=False),
    sa.Column('told_at', sa.JSON(), nullable=False),
    sa.PrimaryKeyConstraint('account_id', name=op.f('pk_account_metrics'))
    )
    op.create_table('account_health',
    sa.Column('account_id', sa.String(), nullable=False),
    sa.Column('model', sa.String(), nullable=False),
    sa.Column('band', sa.String(), nullable=False),
    sa.Column('score', sa.Integer(), nullable=True),
    sa.Column('coverage', sa.Integer(), nullable=False),
    sa.Column('standings', sa.JSON(), nullable=False),
    sa.Column('version', sa.Integer(), nullable=False),
    sa.Column('at', models.tables.UtcDateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('account_id', name=op.f('pk_account_health'))
    )
    op.create_index(op.f('ix_account_health_band'), 'account_health', ['band'], unique=False)
    op.create_table('health_changes',
    sa.Column('account_id', sa.String(), nullable=False),
    sa.Column('model', sa.String(), nullable=False),
    sa.Column('at', models.tables.UtcDateTime(timezone=True), nullable=False),
    sa.Column('score', sa.Integer(), nullable=True),
    sa.Column('band', sa.String(), nullable=False),
    sa.Column('coverage', sa.Integer(), nullable=False),
    sa.PrimaryKeyConstraint('account_id', 'model', 'at', name=op.f('pk_health_changes'))
    )


def downgrade() -> None:
    op.drop_table('health_changes')
    op.drop_index(op.f('ix_account_health_band'), table_name='account_health')
    op.drop_table('account_health')
    op.drop_table('account_metrics')
