"""What a CRM or a script knows: accounts, contacts, contracts, owners: `PUT /api/...` with a bearer token (T1.19)."""

import hmac
from collections.abc import Sequence
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from sqlmodel.ext.asyncio.session import AsyncSession

from models import loading
from models.columns import AccountColumns, BadRow, ContactColumns, ContractColumns, Loadable, OwnerColumns, read_row
from models.database import Database
from web.answers import API_ANSWERS, described, in_path
from web.strict_json import parse_object
from web.webhooks import Answer, Refused, received, the_one_header

KINDS: Final[dict[str, tuple[type[Loadable], str]]] = {
    "accounts": (AccountColumns, "id"),
    "contacts": (ContactColumns, "id"),
    "contracts": (ContractColumns, "id"),
    "owners": (OwnerColumns, "handle"),
}


def api_routes(database: Database, tokens: Sequence[str]) -> APIRouter:
    """`PUT /api/accounts/{id}` and its like; without tokens there is no such endpoint."""
    router = APIRouter()

    @router.put(
        "/api/{kind}/{key:path}",
        responses=API_ANSWERS,
        openapi_extra={**described(), **in_path("kind", "key")},
    )
    async def put(request: Request) -> JSONResponse:
        """Insert or update one row; fields that are not sent stay. 200 means it is on disk; 422 says what was wrong."""
        name, key = request.path_params["kind"], request.path_params["key"]

        def read(body: bytes) -> Loadable:
            kind, field = KINDS[name]
            given = parse_object(body)
            if given.get(field, key) != key:
                raise Refused(422, f"{field}: is {given[field]!r} in the body, but {key!r} in the address")
            try:
                row: Loadable = read_row(kind, {**given, field: key})
            except BadRow as error:
                raise _not_taken(error) from None
            return row

        async def store(session: AsyncSession, row: Loadable) -> Answer:
            (loaded,) = await loading.load(session, [row])
            if loaded.problem:
                refused = _not_taken(BadRow(loaded.problem))
                return {"error": refused.error, **refused.details}, refused.status
            return {KINDS[name][1]: key, "state": loaded.state, "events_that_went_on": loaded.went_on}, 200

        if not tokens:
            return JSONResponse({"error": "this endpoint is off: API_TOKENS is not set"}, 404)
        refused = _stranger(request, tokens)
        if refused:
            return JSONResponse({"error": refused}, 401, {"WWW-Authenticate": "Bearer"})
        if name not in KINDS:
            return JSONResponse({"error": f"there is no /api/{name}; there are {', '.join(KINDS)}"}, 404)
        return await received(request, database, read, store)

    return router


def _not_taken(error: BadRow) -> Refused:
    problems: list[dict[str, Any]] = [{"field": each.field, "reason": each.reason} for each in error.problems]
    return Refused(422, str(error), problems=problems)


def _stranger(request: Request, tokens: Sequence[str]) -> str:
    """Why the request is not let in; empty if its token is one of ours."""
    try:
        scheme, _, given = the_one_header(request, "authorization").partition(" ")
    except Refused as refused:
        return refused.error
    if scheme.lower() != "bearer":
        return "expected the header Authorization: Bearer TOKEN, with one of API_TOKENS"
    # Every token is compared in full, so that the time it takes says nothing.
    fits = False
    for each in tokens:
        fits |= hmac.compare_digest(given.strip().encode(), each.encode())
    return "" if fits else "the token is none of API_TOKENS"
