"""The director's own calls meet the faults too: they are made until they succeed."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import aiohttp
import psycopg
import sqlalchemy.exc
import stripe
from temporalio.service import RPCError, RPCStatusCode

T = TypeVar("T")
AWAY: Final = (
    aiohttp.ClientError,
    OSError,
    TimeoutError,
    stripe.APIConnectionError,
    sqlalchemy.exc.DBAPIError,
    psycopg.OperationalError,
)
PATIENCE_S: Final = 180
FINAL: Final = (RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.ALREADY_EXISTS)


async def insist(make: Callable[[], Awaitable[T]]) -> T:
    """What a call brings back, however often it takes; an error that is none of the faults is raised."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return await make()
        except AWAY:
            if time.monotonic() > deadline:
                raise
        except RPCError as error:
            if error.status in FINAL or time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.3)
