"""What is in doubt: when it is asked for next, and an index of what is not settled

The new column may be null, so that a process of the version before can go on inserting rows.

Revision: 0004, after 0003
"""

import sqlalchemy as sa
from alembic import op

import models.tables

revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None

UNSETTLED = "state IN ('claimed', 'in_doubt')"


def upgrade() -> None:
    with op.batch_alter_table('effects', schema=None) as batch_op:
        batch_op.add_column(sa.Column('wall_look_at', models.tables.UtcDateTime(timezone=True), nullable=True))
        batch_op.create_index('ix_effects_unsettled', ['key'], unique=False, sqlite_where=sa.text(UNSETTLED), postgresql_where=sa.text(UNSETTLED))


def downgrade() -> None:
    with op.batch_alter_table('effects', schema=None) as batch_op:
        batch_op.drop_index('ix_effects_unsettled', sqlite_where=sa.text(UNSETTLED), postgresql_where=sa.text(UNSETTLED))
        batch_op.drop_column('wall_look_at')
