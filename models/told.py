"""What the mail provider's events say of a mail whose answer was lost, and the row that stands for its lost words."""

from typing import Final, Literal

from models.tables import EffectRow, Message

TOLD: Final[dict[str, Literal["done", "refused"]]] = {
    "processed": "done",
    "delivered": "done",
    "bounced": "done",
    "dropped": "refused",
}
"""What the mail provider may tell of a mail it was given, and how a doubt about that mail ends by it."""


def mail_of(row: EffectRow, text: str) -> Message:
    """The row among the messages of a mail whose words were lost with the answer to sending it."""
    return Message(
        key=row.key,
        account_id=row.account_id,
        case_id=row.case_id,
        channel="email",
        template=str(row.what.get("template", "")),
        subject=row.title,
        text=text,
        at=row.at,
    )
