"""H1, the detailed scorecard: usage 40, engagement 25, relationship 20, business 15 (ledger H1)."""

from typing import Final

from models.health.scorecard import (
    DEFAULT_BANDS,
    EXCELLENT,
    FAIR,
    GOOD,
    POOR,
    Labels,
    Part,
    Scorecard,
    labelled,
    over,
    rated,
)

H1: Final = Scorecard(
    "h1",
    "Detailed health",
    "H1",
    parts=(
        Part("Login frequency", 15, (rated("logins_per_week", 1, 3, 5),)),
        Part("Core features", 15, (rated("core_feature_pct", 20, 50, over(80)),)),
        Part("Session length", 10, (rated("session_minutes", 2, 5, over(15)),)),
        Part("Mails", 10, (labelled("email_engagement", ("no_opens", "some", "regular", "replies")),)),
        Part("Support", 10, (labelled("support_sentiment", ("negative", "neutral", "positive", "advocate")),)),
        Part("Community", 5, (labelled("community", ("none", "lurker", "contributor", "leader")),)),
        Part(
            "NPS",
            10,
            # A promoter is good while it is not known whether it was a 9 or a 10 (H1.6).
            (rated("nps", 7, 9, 9), labelled("nps_group", ("detractor", "passive", "promoter"), (POOR, FAIR, GOOD))),
        ),
        Part("Sponsor", 5, (labelled("executive_sponsor", ("none", "identified", "engaged", "champion")),)),
        Part("Stakeholders", 5, (labelled("stakeholders", ("one", "two_or_three", "four_or_more", "org_wide")),)),
        Part("Payment", 5, (labelled("payment", ("often_late", "sometimes_late", "on_time", "auto_pay")),)),
        Part(
            "Contract",
            5,
            (
                Labels(
                    "contract",
                    (
                        ("at_risk", POOR),
                        ("month_to_month", POOR),
                        ("quarterly", FAIR),
                        ("annual", GOOD),
                        ("multi_year", EXCELLENT),
                    ),
                ),
            ),
        ),
        Part("Growth", 5, (labelled("growth", ("contracting", "flat", "growing", "high")),)),
    ),
    bands=DEFAULT_BANDS,
)
