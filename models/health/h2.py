"""H2, the onboarding score: what a new customer has done, less what they struggle with (ledger H2)."""

from typing import Final

from models.health.scorecard import Band, Part, Proportion, Scorecard

H2: Final = Scorecard(
    "h2",
    "Onboarding health",
    "H2",
    parts=(
        Part("Checklist", 30, (Proportion("checklist_pct"),)),
        Part("Campaigns", 20, (Proportion("campaigns", 2),)),
        Part("Reports", 20, (Proportion("reports", 2),)),
        Part("Core features", 15, (Proportion("core_feature_pct"),)),
        Part("Open tickets", -15, (Proportion("open_tickets", 3),)),
    ),
    bands=(
        Band(80, "healthy", "Healthy", "congratulate"),
        Band(60, "at_risk", "At Risk", "help within two days"),
        Band(0, "critical", "Critical", "rescue today"),
    ),
)
"""The best is 85, as no more points are to be had (H2.2)."""
