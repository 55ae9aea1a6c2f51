"""Stripe, SendGrid and the product in this process, behind the clients that our code really uses.

Stripe is the simulator's own: its objects, its rules for invoices, charges, declines and retries, its checks of
parameters against Stripe's OpenAPI description, and its idempotency keys (the first answer of a call that began to
run, a 402 or 500 too, is given again for the same key and parameters; another body under the key is refused; 429 is
not kept; keys last 24 hours). Only HTTP is left out: the stripe SDK's own client is handed the answer.
"""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from types import SimpleNamespace
from typing import Any, Final

import orjson
import python_http_client.exceptions as http_errors
import stripe
import stripe._api_requestor as requestor

from activities.outgoing_webhooks import Undelivered
from simulator.faults import CutConnection, CutMidway, Rule
from simulator.sendgrid_api import Mail as Delivered
from simulator.sendgrid_api import mail_problems
from simulator.stripe_api import StripeApi
from simulator.world import World as StripeWorld
from tests.sim.clock import Clock, swapped

Json = dict[str, Any]
CONVERT: Final = "_convert_to_stripe_object"
SINGLE: Final = ("invoice", "customer", "charge", "subscription", "coupon")
ACTIVITY_LATE_S: Final = 180
FROZEN: Final = "frozen"
"""Our process stands still on the line, and another one takes over."""
Strike = Callable[[str], str]
"""Told the name of the provider that is called; says which fault strikes, if one does."""


class VirtualStripe(StripeWorld):
    """The simulator's Stripe, on virtual time."""

    def __init__(self, clock: Clock, seed: int) -> None:
        self._clock = clock
        super().__init__(seed)

    def now(self) -> int:
        """Unix seconds."""
        return int(self._clock.now.timestamp())

    def set_clock(self, unix: float) -> None:
        """Time is the clock's; Stripe's own attempts are made when the clock comes by."""


class Asked:
    """As much of a request as the simulator looks at."""

    def __init__(self, method: str, url: str, headers: Mapping[str, str], body: str) -> None:
        path, _, query = url.removeprefix("https://api.stripe.com").partition("?")
        self.method = method.upper()
        self.url = SimpleNamespace(path=path, query=query)
        self.headers = {name.lower(): value for name, value in headers.items()}
        self._body = body.encode()

    async def body(self) -> bytes:
        """The form."""
        return self._body


class StripeHttp(stripe.HTTPClient):
    """The SDK's way out, leading to the simulator. What the SDK makes of the answer is the SDK's."""

    name = "in-process"

    def __init__(self) -> None:
        super().__init__()
        self.play: Callable[[Asked], Any] = lambda asked: None

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """One exchange.

        Raises:
            stripe.APIConnectionError: the connection was cut, before or after Stripe did what was asked.
        """
        answer = await self.play(Asked(method, url, headers, post_data or ""))
        if isinstance(answer, CutConnection | CutMidway):
            raise stripe.APIConnectionError("the connection was cut")  # type: ignore[no-untyped-call]
        return answer.body, answer.status_code, answer.headers

    async def close_async(self) -> None:
        """Nothing to close."""


class Found:
    """A Stripe object as far as our code looks at it. The SDK's own takes a quarter of a world's time to build."""

    def __init__(self, body: Json) -> None:
        self._body = body

    def __getattr__(self, name: str) -> Any:
        return self._body[name]

    def to_dict(self) -> Json:
        """All of it, plain."""
        return self._body


def light_objects() -> AbstractContextManager[None]:
    """Let the SDK hand single objects over as they are; lists, errors and all else stay its own."""
    before: Any = getattr(requestor, CONVERT)

    def light(*, resp: Any, **more: Any) -> Any:
        body = getattr(resp, "data", None)
        if isinstance(body, dict) and body.get("object") in SINGLE:
            return Found(body)
        return before(resp=resp, **more)

    return swapped(requestor, CONVERT, light)


class Faults:
    """The simulator's faults, told by the world which call is struck."""

    def __init__(self) -> None:
        self.kind = ""

    def strike(self, method: str, path: str) -> Rule | None:
        """The rule for this call, if it is struck."""
        return Rule(self.kind, path) if self.kind else None


class StripeDoor:
    """Answers the SDK's calls, with faults; acts of other people may come in between."""

    def __init__(self, world: StripeWorld, strike: Strike, meanwhile: Callable[[str], Any], clock: Clock) -> None:
        self._faults = Faults()
        self._api = StripeApi(world, self._faults)  # type: ignore[arg-type]
        self._strike, self._meanwhile, self._clock = strike, meanwhile, clock

    async def play(self, asked: Asked) -> Any:
        """One exchange."""
        self._clock.tick()
        struck = self._strike("stripe" if asked.method == "POST" else "stripe_look")
        if struck == FROZEN:
            await self._meanwhile(FROZEN)
            struck = ""
        before, after = struck.removeprefix("first:"), struck.removeprefix("then:")
        if before != struck:
            await self._meanwhile(before)
        self._faults.kind = "" if ":" in struck else struck
        answer = await self._api.answer(asked)  # type: ignore[arg-type]
        if after != struck:
            await self._meanwhile(after)
        return answer


class Postbox:
    """SendGrid as its client sees it: no idempotency; an accepted mail is a mail.

    Its activity is there to be asked where it was bought (`shows`), and shows mails some minutes late.
    """

    def __init__(self, strike: Strike, clock: Clock, accepted: Callable[[Delivered], None], *, shows: bool) -> None:
        self._strike, self._clock, self._accepted, self._shows = strike, clock, accepted, shows
        self._sent: list[Delivered] = []
        self.client = SimpleNamespace(messages=SimpleNamespace(get=self._search))

    def send(self, mail: Any) -> Any:
        """Send a mail, as `SendGridAPIClient.send`.

        Raises:
            python_http_client.exceptions.HTTPError: SendGrid refuses it.
            OSError: there was no answer.
        """
        self._clock.tick()
        struck, body = self._strike("sendgrid"), mail.get()
        if struck == "cut_before":
            raise ConnectionRefusedError
        if struck in ("429", "503", "500_before"):
            raise _http_error(int(struck[:3]))
        problems = mail_problems(body)
        if problems:
            raise _http_error(400, orjson.dumps({"errors": problems}))
        (person,) = body["personalizations"]
        told = {**body.get("custom_args", {}), **person.get("custom_args", {})}
        headers = {**body.get("headers", {}), **person.get("headers", {})}
        message = f"mail-{len(self._sent) + 1}"
        to = [each["email"] for each in person["to"]]
        at = int(self._clock.now.timestamp())
        sender, subject = body["from"]["email"], body.get("subject") or person["subject"]
        self._sent.append(Delivered(message, at, to, sender, subject, None, None, headers, told, []))
        self._accepted(self._sent[-1])
        if struck == "cut_after":
            raise ConnectionResetError
        if struck == "500_after":
            raise _http_error(500)
        return SimpleNamespace(headers={"X-Message-Id": message}, status_code=202)

    def _search(self, *, query_params: Mapping[str, str]) -> Any:
        """What the activity shows of an effect's mails."""
        self._clock.tick()
        struck = self._strike("sendgrid_look")
        if struck == "cut_before":
            raise ConnectionRefusedError
        if struck or not self._shows:
            raise _http_error(int(struck or 403))
        key, shown = query_params["query"].split('"')[1], self._clock.now.timestamp() - ACTIVITY_LATE_S
        found = [
            {"msg_id": each.id, "subject": each.subject, "to_email": each.to[0], "status": "delivered"}
            for each in self._sent
            if each.custom_args["effect"] == key and each.at <= shown
        ]
        return SimpleNamespace(body=orjson.dumps({"messages": found}))


def _http_error(status: int, body: bytes = b"{}") -> http_errors.HTTPError:
    return http_errors.HTTPError(status, "simulated", body, {})


class Product:
    """The customer's product: it knows a webhook by its id, and does what it says once."""

    def __init__(self, strike: Strike, meanwhile: Callable[[str], Any], clock: Clock) -> None:
        self._strike, self._meanwhile, self._clock = strike, meanwhile, clock
        self.levels: dict[str, str] = {}
        self.told: list[tuple[str, str, str]] = []
        self._seen: set[str] = set()

    async def post(self, url: str, body: bytes, headers: dict[str, str], **_: Any) -> int:
        """Take a webhook, as `activities.outgoing_webhooks.post`.

        Raises:
            Undelivered: no connection, or no answer.
        """
        self._clock.tick()
        struck = self._strike("product")
        if struck == FROZEN:
            await self._meanwhile(FROZEN)
        if struck == "cut_before":
            raise Undelivered("ClientConnectorError")
        if struck in ("503", "500_before"):
            return int(struck[:3])
        said = orjson.loads(body)["data"]
        if headers["webhook-id"] not in self._seen:
            self._seen.add(headers["webhook-id"])
            self.levels[said["account"]] = said["level"]
            self.told.append((headers["webhook-id"], said["account"], said["level"]))
        if struck == "cut_after":
            raise Undelivered("ServerDisconnectedError")
        return 500 if struck == "500_after" else 200


class AtOnce(ThreadPoolExecutor):
    """`asyncio.to_thread` without the thread: the order of threads is nobody's to seed."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Run it now."""
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - a future carries all of them, a pretended kill too
            done.set_exception(error)
        return done


def without_threads() -> None:
    """Let the running loop use no threads."""
    asyncio.get_running_loop().set_default_executor(AtOnce(max_workers=1))
