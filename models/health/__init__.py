"""Health scorecards and churn risk (ledger H0 to H7). A new scorecard is a file beside these and a word in CARDS."""

from typing import Final

from models.health.h1 import H1
from models.health.h2 import H2
from models.health.h3 import H3
from models.health.h4 import H4
from models.health.h5 import H5
from models.health.scorecard import Scorecard

CARDS: Final[tuple[Scorecard, ...]] = (H1, H2, H3, H4, H5)
"""Every model that accounts are scored by, side by side (H0.2)."""


def card_named(name: str) -> Scorecard:
    """The scorecard of this name.

    Raises:
        LookupError: there is none.
    """
    found = next((card for card in CARDS if card.name == name), None)
    if found is None:
        raise LookupError(f"there is no model {name!r}; there are {', '.join(card.name for card in CARDS)}")
    return found
