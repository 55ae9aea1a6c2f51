"""What an account may still do in our product: a row, and a signed webhook that tells the product (P1.18, I9)."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any, Final

import aiohttp

from activities.systems import Answer, TryAgain
from models.cases import Batch, SetAccess
from models.database import Database
from models.picture import Picture
from models.tables import Access

TIMEOUT_S: Final = 10
ALLOWS: Final = {
    "full": "everything",
    "restricted": "reading, billing and data export; a banner is shown",
    "suspended": "the billing page only; data is kept for 90 days",
}


class ProductAccess:
    """Restricts, suspends and restores. Without a product URL only the row is kept, for the product to poll."""

    kinds: tuple[str, ...] = ("access",)

    def __init__(self, database: Database, product_url: str = "", secret: str = "") -> None:
        self._db = database
        self._url = product_url
        self._secret = secret

    def before(self, effect: Any, picture: Picture) -> dict[str, Any]:
        """Nothing to note: telling the product twice under one id is telling it once."""
        return {}

    async def look_up(self, effect: Any, batch: Batch, picture: Picture, noted: dict[str, Any]) -> Answer | None:
        """Safe to repeat: the row is an upsert and the product knows the webhook by its id."""
        return None

    async def perform(self, effect: SetAccess, batch: Batch, picture: Picture) -> Answer:
        """Write the level, then tell the product.

        Raises:
            TryAgain: the product did not answer 2xx.
        """
        async with self._db.writing() as session:
            row = Access(account_id=batch.account, level=effect.level, key=effect.key, since=batch.now)
            await session.merge(row)
        if not self._url:
            return Answer(reason="no product webhook is configured")
        body = json.dumps(
            {
                "type": "access.changed",
                "timestamp": batch.now.isoformat(),
                "data": {"account": batch.account, "level": effect.level, "allows": ALLOWS[effect.level]},
            }
        ).encode()
        await self._post(effect.key, body)
        return Answer()

    async def _post(self, message_id: str, body: bytes) -> None:
        headers = signed_headers(self._secret, message_id, int(time.time()), body)
        try:
            timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
            async with (
                aiohttp.ClientSession(timeout=timeout) as http,
                http.post(self._url, data=body, headers=headers, allow_redirects=False) as answer,
            ):
                if not 200 <= answer.status < 300:
                    raise TryAgain(f"the product answered {answer.status} to access.changed")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise TryAgain(f"the product could not be reached: {type(error).__name__}") from error


def signed_headers(secret: str, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Headers of the Standard Webhooks scheme (v1, HMAC-SHA256); `secret` may carry the `whsec_` prefix."""
    key = base64.b64decode(secret.removeprefix("whsec_")) if secret else b""
    content = b".".join((message_id.encode(), str(timestamp).encode(), body))
    signature = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    return {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{signature}",
    }
