"""Who read encrypted payloads

Revision: 0003, after 0002
"""

import sqlalchemy as sa
from alembic import op

import models.tables

revision = '0003'
down_revision = '0002'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('codec_reads',
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('wall_read_at', models.tables.UtcDateTime(timezone=True), nullable=False),
    sa.Column('who', sa.String(), nullable=False),
    sa.Column('namespace', sa.String(), nullable=False),
    sa.Column('workflow_id', sa.String(), nullable=False),
    sa.Column('payloads', sa.Integer(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_codec_reads'))
    )
    with op.batch_alter_table('codec_reads', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_codec_reads_wall_read_at'), ['wall_read_at'], unique=False)


def downgrade() -> None:
    with op.batch_alter_table('codec_reads', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_codec_reads_wall_read_at'))

    op.drop_table('codec_reads')
