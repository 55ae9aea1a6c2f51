"""Consent: the topics people chose, the addresses that take no mail

Revision: 0010, after 0009
"""

import sqlalchemy as sa
from alembic import op

import models.tables

revision = '0010'
down_revision = '0009'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('topic_choices',
    sa.Column('account_id', sa.String(), nullable=False),
    sa.Column('contact_id', sa.String(), nullable=False),
    sa.Column('topic', sa.String(), nullable=False),
    sa.Column('wanted', sa.Boolean(), nullable=False),
    sa.Column('at', models.tables.UtcDateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('account_id', 'contact_id', 'topic', name=op.f('pk_topic_choices'))
    )
    op.create_table('suppressions',
    sa.Column('reader', sa.String(), nullable=False),
    sa.Column('why', sa.String(), nullable=False),
    sa.Column('said', sa.String(), nullable=False),
    sa.Column('account_id', sa.String(), nullable=False),
    sa.Column('effect', sa.String(), nullable=False),
    sa.Column('at', models.tables.UtcDateTime(timezone=True), nullable=False),
    sa.Column('wall_noted_at', models.tables.UtcDateTime(timezone=True), nullable=False),
    sa.Column('lifted_by', sa.String(), nullable=False),
    sa.Column('wall_lifted_at', models.tables.UtcDateTime(timezone=True), nullable=True),
    sa.PrimaryKeyConstraint('reader', 'why', name=op.f('pk_suppressions'))
    )
    op.create_index('ix_suppressions_account_id', 'suppressions', ['account_id'], unique=False)


def downgrade() -> None:
    op.drop_index('ix_suppressions_account_id', table_name='suppressions')
    op.drop_table('suppressions')
    op.drop_table('topic_choices')
