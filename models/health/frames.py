"""Whole frames out of the database and into it, past SQLAlchemy's rows: `COPY` on PostgreSQL, tuples on SQLite."""

from collections.abc import Mapping
from typing import Any

import polars as pl
from sqlalchemy import Table
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.schema import CreateTable, DropTable
from sqlmodel.ext.asyncio.session import AsyncSession


async def read_frame(session: AsyncSession, statement: Any, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """What a select finds, in its order. Texts and whole numbers only."""
    connection = await session.connection()
    sql = str(statement.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True}))
    driver = await _driver(connection)
    if connection.dialect.name == "sqlite":
        rows = await driver.execute_fetchall(sql)
        return pl.DataFrame(rows, schema=dict(schema), orient="row")
    # SQLAlchemy writes % twice for a driver that is given parameters, which this one is not.
    query = f"COPY ({sql.replace('%%', '%')}) TO STDOUT (FORMAT csv)"
    async with driver.cursor() as cursor, cursor.copy(query) as copy:
        lines = b"".join([bytes(line) async for line in copy])
    return pl.read_csv(lines, schema=schema, has_header=False) if lines else pl.DataFrame(schema=dict(schema))


async def stage(session: AsyncSession, table: Table, frame: pl.DataFrame) -> None:
    """Make a temporary table anew, with the frame's columns of the same names in it."""
    connection = await session.connection()
    await connection.execute(DropTable(table, if_exists=True))
    await connection.execute(CreateTable(table))
    frame = frame.select(table.c.keys())
    if connection.dialect.name == "sqlite":
        if frame.height:
            marks = ", ".join("?" * len(table.c))
            await connection.exec_driver_sql(f"INSERT INTO {table.name} VALUES ({marks})", frame.rows())  # noqa: S608
        return
    driver = await _driver(connection)
    async with driver.cursor() as cursor, cursor.copy(f"COPY {table.name} FROM STDIN (FORMAT csv)") as copy:
        await copy.write(frame.write_csv(include_header=False, quote_style="non_numeric"))


async def _driver(connection: AsyncConnection) -> Any:
    """The driver's own connection, in the transaction of the session."""
    return (await connection.get_raw_connection()).driver_connection
