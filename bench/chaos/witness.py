"""When PostgreSQL made each event of the inbox durable, to the microsecond.

An event's row is dated as it arrives and is there for others only once it is committed, some milliseconds later, or
more under load. What was begun between the two was begun without knowing. So that the reckoning needs no tolerance, the
server notes the moment of each commit, and a trigger which commit brought which event.
"""

from datetime import datetime
from typing import Final

from sqlalchemy import text

from models.database import Database

SETTING: Final = ("-c", "track_commit_timestamp=on")
"""What the server has to be started with."""
SETUP: Final = (
    "CREATE TABLE witness (event_id text NOT NULL, xid xid NOT NULL)",
    """CREATE FUNCTION bear_witness() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO witness VALUES (NEW.event_id, pg_current_xact_id()::xid);
        RETURN NULL;
    END $$""",
    "CREATE TRIGGER bear_witness AFTER INSERT ON inbox FOR EACH ROW EXECUTE FUNCTION bear_witness()",
)


async def appoint(database: Database) -> None:
    """Note from now on which commit brings which event; the tables must be there."""
    async with database.writing() as session:
        for statement in SETUP:
            await session.execute(text(statement))


async def durable_since(database: Database) -> dict[str, datetime]:
    """By event id (`evt_…`), the moment of its commit."""
    async with database.reading() as session:
        rows = await session.execute(text("SELECT event_id, pg_xact_commit_timestamp(xid) FROM witness"))
        return {event: moment for event, moment in rows if moment}
