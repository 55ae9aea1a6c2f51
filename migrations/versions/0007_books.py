"""Segments that are ours to change, and CSMs with capacity, absence and cover (S1, S3)

Revision: 0007, after 0006
"""

import sqlalchemy as sa
from alembic import op

import models.tables

revision = '0007'
down_revision = '0006'
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table('accounts', schema=None) as batch_op:
        batch_op.add_column(sa.Column('owner_since', models.tables.UtcDateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column('owner_held', sa.Boolean(), nullable=False, server_default=sa.false()))
        batch_op.add_column(sa.Column('segment_computed', sa.Boolean(), nullable=False, server_default=sa.false()))
        batch_op.add_column(sa.Column('segment_below_since', sa.Date(), nullable=True))
        batch_op.add_column(sa.Column('growth', sa.Boolean(), nullable=False, server_default=sa.false()))
        batch_op.create_index('ix_accounts_owner', ['owner'], unique=False)
    with op.batch_alter_table('owners', schema=None) as batch_op:
        batch_op.add_column(sa.Column('serves', sa.String(), nullable=False, server_default=''))
        batch_op.add_column(sa.Column('capacity', sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column('away_from', sa.Date(), nullable=True))
        batch_op.add_column(sa.Column('away_until', sa.Date(), nullable=True))
        batch_op.add_column(sa.Column('covered_by', sa.String(), nullable=False, server_default=''))
        batch_op.add_column(sa.Column('left_on', sa.Date(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table('owners', schema=None) as batch_op:
        for name in ('left_on', 'covered_by', 'away_until', 'away_from', 'capacity', 'serves'):
            batch_op.drop_column(name)
    with op.batch_alter_table('accounts', schema=None) as batch_op:
        batch_op.drop_index('ix_accounts_owner')
        for name in ('growth', 'segment_below_since', 'segment_computed', 'owner_held', 'owner_since'):
            batch_op.drop_column(name)
