"""What an account may still do in our product: a row, and a signed webhook that tells the product (P1.18, I9)."""

import json
import time
from typing import Any, Final

from activities.outgoing_webhooks import Undelivered, post, signed_headers
from activities.systems import Answer, TryAgain, still_fresh
from models.cases import Batch, SetAccess
from models.database import Database
from models.picture import Picture
from models.tables import Access, EffectRow

ALLOWS: Final = {
    "full": "everything",
    "restricted": "reading, billing and data export; a banner is shown",
    "suspended": "the billing page only; data is kept for 90 days",
}


class ProductAccess:
    """Restricts, suspends and restores. Without a product URL only the row is kept, for the product to poll."""

    kinds: tuple[str, ...] = ("access",)

    def __init__(
        self, database: Database, product_url: str = "", secret: str = "", *, allow_private: bool = False
    ) -> None:
        self._db = database
        self._url = product_url
        self._secret = secret
        self._allow_private = allow_private

    def before(self, effect: Any, picture: Picture) -> dict[str, Any]:
        """Nothing to note: telling the product twice under one id is telling it once."""
        return {}

    async def look_up(self, effect: Any, batch: Batch, picture: Picture, noted: dict[str, Any]) -> Answer | None:
        """Safe to repeat: the row is an upsert and the product knows the webhook by its id."""
        return None

    async def perform(self, effect: SetAccess, batch: Batch, picture: Picture) -> Answer:
        """Write the level, then tell the product.

        Raises:
            TryAgain: the product did not answer 2xx, or another try has done it.
        """
        still_fresh()
        async with self._db.writing() as session:
            claim = await session.get(EffectRow, effect.key, with_for_update=True)
            if claim is None or claim.state != "claimed":
                # Whoever took over has set it, and maybe somebody has set another level since.
                raise TryAgain("the claim is gone")
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
        still_fresh()
        headers = signed_headers(self._secret, message_id, int(time.time()), body)
        try:
            status = await post(self._url, body, headers, allow_private=self._allow_private)
        except Undelivered as error:
            raise TryAgain(f"the product could not be reached: {error}") from error
        if not 200 <= status < 300:
            raise TryAgain(f"the product answered {status} to access.changed")
