"""What is written into a CRM outside

Revision: 0009, after 0008
"""

import sqlalchemy as sa
from alembic import op

import models.tables

revision = '0009'
down_revision = '0008'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('crm_records',
    sa.Column('key', sa.String(), nullable=False),
    sa.Column('kind', sa.String(), nullable=False),
    sa.Column('account_id', sa.String(), nullable=False),
    sa.Column('remote_id', sa.String(), nullable=False),
    sa.Column('state', sa.String(), nullable=False),
    sa.Column('reason', sa.String(), nullable=False),
    sa.Column('written', sa.String(), nullable=False),
    sa.Column('wanted', sa.String(), nullable=False),
    sa.Column('seen_at', models.tables.UtcDateTime(timezone=True), nullable=True),
    sa.Column('task', sa.String(), nullable=False),
    sa.Column('tries', sa.Integer(), nullable=False),
    sa.Column('wall_made_at', models.tables.UtcDateTime(timezone=True), nullable=False),
    sa.Column('wall_claimed_at', models.tables.UtcDateTime(timezone=True), nullable=False),
    sa.Column('wall_next_try_at', models.tables.UtcDateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('key', name=op.f('pk_crm_records'))
    )
    op.create_index('ix_crm_records_account_id', 'crm_records', ['account_id'], unique=False)


def downgrade() -> None:
    op.drop_index('ix_crm_records_account_id', table_name='crm_records')
    op.drop_table('crm_records')
