"""What each route may answer, for the API's own document; every status there is one that is really sent."""

from typing import Any, Final

from pydantic import BaseModel

Answers = dict[int | str, dict[str, Any]]


class Refusal(BaseModel):
    """Why a request was not taken."""

    error: str


class Taken(BaseModel):
    """An event that is on disk: its state in the inbox, and why it is ignored or dead where it is."""

    received: bool
    state: str
    reason: str


class Health(BaseModel):
    """Whether the database answers."""

    ok: bool
    error: str = ""


def _refused(why: str) -> dict[str, Any]:
    return {"model": Refusal, "description": why}


def _page(why: str) -> dict[str, Any]:
    return {"content": {"text/html": {}}, "description": why}


LIMITED: Final[Answers] = {429: _refused("Too many requests from this address; Retry-After says when.")}
AWAY: Final[Answers] = {503: _refused("The database does not answer; try again.")}
WEBHOOK_ANSWERS: Final[Answers] = {
    200: {"model": Taken, "description": "The event is on disk, or was before."},
    400: _refused("Not signed by who it should be, not from now, or not an event; it will never be taken."),
    413: _refused("The body is too large."),
    415: _refused("The body is compressed."),
    **LIMITED,
    **AWAY,
}
_JSON: Final = {"content": {"application/json": {"schema": {"type": "object"}}}}
OFF: Final[Answers] = {404: _refused("This endpoint is off: its secret is not set.")}
EVENTS_ANSWERS: Final[Answers] = {
    **WEBHOOK_ANSWERS,
    **OFF,
    200: {**_JSON, "description": "All of it is on disk, or was before."},
    422: {**_JSON, "description": "Events of the batch that are named cannot be taken; the others are on disk."},
}
SEGMENT_ANSWERS: Final[Answers] = {
    **WEBHOOK_ANSWERS,
    **OFF,
    200: {**_JSON, "description": "Every call is on disk, or is nothing for us."},
}
SENDGRID_ANSWERS: Final[Answers] = {
    **WEBHOOK_ANSWERS,
    **OFF,
    200: {**_JSON, "description": "How many events are on disk, settled a doubt, or mean nothing to us."},
}
API_ANSWERS: Final[Answers] = {
    200: {**_JSON, "description": "The row is on disk."},
    400: _refused("Not a JSON object."),
    401: _refused("No token, or none of ours."),
    404: _refused("The API is off, or has no such kind of row."),
    413: _refused("The body is too large."),
    415: _refused("The body is compressed."),
    422: {**_JSON, "description": "Fields that are wrong, each with what it may hold."},
    **LIMITED,
    **AWAY,
}
PAGE_ANSWERS: Final[Answers] = {**LIMITED, **AWAY}
_PLAIN: Final[dict[str, Any]] = {"content": {"text/plain": {}}}
STAFF: Final[Answers] = {
    401: {**_PLAIN, "description": "The staff password is missing or wrong."},
    403: {**_PLAIN, "description": "No staff password is set, and the client is not this machine."},
}
STAFF_PAGE_ANSWERS: Final[Answers] = {**STAFF, **PAGE_ANSWERS}
MAIL_ANSWERS: Final[Answers] = {404: _page("There is no such mail."), **STAFF_PAGE_ANSWERS}
ACCOUNT_ANSWERS: Final[Answers] = {404: _page("Nothing is known of this account."), **STAFF_PAGE_ANSWERS}
SWITCH_ANSWERS: Final[Answers] = {
    303: {"description": "Done, or done before; to the page again."},
    400: _page("The button is too old, or none of ours."),
    413: _page("The body is too large."),
    415: _page("The body is compressed."),
    **STAFF_PAGE_ANSWERS,
}
STYLE_ANSWERS: Final[Answers] = {200: {"content": {"text/css": {}}, "description": "The style sheet."}, **LIMITED}
PAY_ANSWERS: Final[Answers] = {
    303: {"description": "To the provider's page of the oldest unpaid invoice."},
    200: _page("Nothing is due any more."),
    400: _page("The link is not valid, or has expired."),
    404: _page("The link cannot even be one."),
    **PAGE_ANSWERS,
}
UNSUBSCRIBE_ANSWERS: Final[Answers] = {
    200: _page("One button; after it, that it is done."),
    400: _page("The link is not valid."),
    404: _page("The link cannot even be one."),
    413: _page("The body is too large."),
    **PAGE_ANSWERS,
}
PREFERENCES_ANSWERS: Final[Answers] = {
    200: _page("A box for each topic; after saving, what was kept."),
    400: _page("The link is not valid, or nothing was chosen."),
    404: _page("The link cannot even be one."),
    413: _page("The body is too large."),
    **PAGE_ANSWERS,
}
LINK_ANSWERS: Final[Answers] = {
    200: _page("The terms of the offer, or what became of it."),
    400: _page("The link is not valid, or nothing was chosen."),
    404: _page("There is no such offer."),
    409: _page("It was answered otherwise before."),
    410: _page("It has expired, or was withdrawn."),
    **PAGE_ANSWERS,
}
ANSWER_ANSWERS: Final[Answers] = {413: _page("The body is too large."), **LINK_ANSWERS}
CATALOGUE_ANSWERS: Final[Answers] = {200: _page("Every playbook."), **STAFF, **LIMITED}
TEMPLATES_ANSWERS: Final[Answers] = {200: _page("Every template."), **STAFF, **LIMITED}
SAMPLE_ANSWERS: Final[Answers] = {
    200: _page("One template, with sample words."),
    404: _page("There is no such template in this language."),
    **STAFF,
    **LIMITED,
}
PICTURE_ANSWERS: Final[Answers] = {
    200: {"content": {"image/svg+xml": {}}, "description": "A timeline."},
    404: {"content": {"text/plain": {}}, "description": "There is no playbook of this name."},
    **STAFF,
    **LIMITED,
}
METRICS_ANSWERS: Final[Answers] = {
    200: {**_PLAIN, "description": "The numbers, in Prometheus' text format; without the database's while it is away."},
    **STAFF,
    **LIMITED,
}
HEALTH_ANSWERS: Final[Answers] = {
    200: {"model": Health, "description": "Webhooks are taken."},
    503: {"model": Health, "description": "The database does not answer."},
}


def described(*headers: str) -> dict[str, Any]:
    """The OpenAPI of a signed webhook: its headers, and a JSON object of which the raw bytes are signed."""
    return {
        "parameters": [
            {"in": "header", "name": name, "required": True, "schema": {"type": "string"}} for name in headers
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}},
    }


def in_path(*names: str) -> dict[str, Any]:
    """The OpenAPI of a route that takes the rest of its path as a text. As a parameter of the function the framework
    would promise a 422 for it, which no text can bring about."""
    return {
        "parameters": [{"in": "path", "name": name, "required": True, "schema": {"type": "string"}} for name in names]
    }
