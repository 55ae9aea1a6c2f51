"""H3, the score in the pattern of a CRM: six inputs, rated like those of H1 (ledger H3)."""

from typing import Final

from models.health.scorecard import (
    DEFAULT_BANDS,
    EXCELLENT,
    FAIR,
    GOOD,
    POOR,
    Part,
    Scorecard,
    Steps,
    labelled,
    over,
    rated,
)

H3: Final = Scorecard(
    "h3",
    "CRM health",
    "H3",
    parts=(
        # The limits are those of the usage scan: more than 30 % down is a decline, 50 % a severe one (P3.1, P3.2).
        Part("Usage trend", 25, (rated("usage_change_pct", over(-50), -30, 0),)),
        Part("Tickets", 15, (Steps("open_tickets", EXCELLENT, ((1, GOOD), (3, FAIR), (6, POOR))),)),
        Part(
            "NPS",
            15,
            (rated("nps", 7, 9, 9), labelled("nps_group", ("detractor", "passive", "promoter"), (POOR, FAIR, GOOD))),
        ),
        Part("Engagement", 20, (labelled("email_engagement", ("no_opens", "some", "regular", "replies")),)),
        Part("Payment", 15, (labelled("payment", ("often_late", "sometimes_late", "on_time", "auto_pay")),)),
        Part("Renewal", 10, (rated("days_to_renewal", 30, 90, 180),)),
    ),
    bands=DEFAULT_BANDS,
)
