"""The send gate: who was contacted when, what waited and why, what is on hold, how urgent each case is

The new columns are empty where a process of the version before inserts rows.

Revision: 0006, after 0004
"""

import sqlalchemy as sa
from alembic import op

import models.tables

revision = '0006'
down_revision = '0004'
branch_labels = None
depends_on = None

PRECEDENCE = {
    'payment-failure': 'payment',
    'card-expiry': 'payment',
    'renewal': 'renewal',
    'usage-decline': 'usage_decline',
    'onboarding': 'value',
    'trial-ending': 'value',
    'win-back': 're_engagement',
}
"""What these playbooks say of themselves in this version; a run's next step writes it too."""


def upgrade() -> None:
    op.create_table('deferrals',
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('key', sa.String(), nullable=False),
    sa.Column('case_id', sa.String(), nullable=False),
    sa.Column('account_id', sa.String(), nullable=False),
    sa.Column('playbook', sa.String(), nullable=False),
    sa.Column('step', sa.String(), nullable=False),
    sa.Column('kind', sa.String(), nullable=False),
    sa.Column('title', sa.String(), nullable=False),
    sa.Column('rule', sa.String(), nullable=False),
    sa.Column('reason', sa.String(), nullable=False),
    sa.Column('at', models.tables.UtcDateTime(timezone=True), nullable=False),
    sa.Column('until', models.tables.UtcDateTime(timezone=True), nullable=False),
    sa.Column('wall_noted_at', models.tables.UtcDateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_deferrals')),
    sa.UniqueConstraint('key', 'at', 'rule', name=op.f('uq_deferrals_key_at_rule'))
    )
    op.create_index('ix_deferrals_account_id_at', 'deferrals', ['account_id', 'at'], unique=False)
    op.create_table('holds',
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('scope', sa.String(), nullable=False),
    sa.Column('name', sa.String(), nullable=False),
    sa.Column('reason', sa.String(), nullable=False),
    sa.Column('placed_by', sa.String(), nullable=False),
    sa.Column('wall_placed_at', models.tables.UtcDateTime(timezone=True), nullable=False),
    sa.Column('released_by', sa.String(), nullable=False),
    sa.Column('wall_released_at', models.tables.UtcDateTime(timezone=True), nullable=True),
    sa.Column('spread_minutes', sa.Integer(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_holds'))
    )
    with op.batch_alter_table('effects', schema=None) as batch_op:
        batch_op.add_column(sa.Column('nature', sa.String(), nullable=False, server_default=''))
        batch_op.add_column(sa.Column('reader', sa.String(), nullable=False, server_default=''))
        batch_op.add_column(sa.Column('contact_on', sa.Date(), nullable=True))
        batch_op.create_index('ix_effects_account_id_contact_on', ['account_id', 'contact_on'], unique=False)
        batch_op.create_index('ix_effects_reader_contact_on', ['reader', 'contact_on'], unique=False)
    with op.batch_alter_table('cases', schema=None) as batch_op:
        batch_op.add_column(sa.Column('precedence', sa.String(), nullable=False, server_default=''))
    for playbook, precedence in PRECEDENCE.items():
        op.execute(
            sa.text('UPDATE cases SET precedence = :precedence WHERE playbook = :playbook').bindparams(
                precedence=precedence, playbook=playbook
            )
        )


def downgrade() -> None:
    with op.batch_alter_table('cases', schema=None) as batch_op:
        batch_op.drop_column('precedence')
    with op.batch_alter_table('effects', schema=None) as batch_op:
        batch_op.drop_index('ix_effects_reader_contact_on')
        batch_op.drop_index('ix_effects_account_id_contact_on')
        batch_op.drop_column('contact_on')
        batch_op.drop_column('reader')
        batch_op.drop_column('nature')
    op.drop_table('holds')
    op.drop_index('ix_deferrals_account_id_at', table_name='deferrals')
    op.drop_table('deferrals')
