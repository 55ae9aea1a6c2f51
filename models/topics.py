"""What mails are about. Every template says which topic it is (`activities.letters.topic_of`).

Of the topics in `TOPICS` people choose on their preferences page; what is about bills, and what never leaves the house,
is not theirs to switch off.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Topic:
    """What a mail is about, in the words of the preferences page. `marketing`: unsubscribing leaves it too (T4.3)."""

    name: str
    title: str
    says: str
    marketing: bool = True


TOPICS: Final[dict[str, Topic]] = {
    each.name: each
    for each in (
        Topic("tips", "Tips and help", "How to get more out of the product, first steps, training."),
        Topic("offers", "Offers", "Discounts, pauses, and news for those who have left."),
        Topic("surveys", "Questions to you", "What you think of the product, and whether you would speak of it."),
        Topic("news", "Renewal and account news", "Renewal terms, reviews, pauses.", marketing=False),
    )
}
"""What people can choose, in the order of the page."""
BILLING: Final = "billing"
STAFF: Final = "staff"
FIXED: Final = (BILLING, STAFF)
"""Topics nobody chooses: bills and payments; guides for our own people."""
ANY: Final = "any"
"""Stands for a topic in the link to the preferences page where the mail was about none that one can choose."""
