"""H5, the point model: usage 40, outcomes 30, relationship 20, payment and contract 10 (ledger H5)."""

from typing import Final

from models.health.scorecard import Band, Labels, Part, Rule, Scorecard, Steps, over


def _part(title: str, points: int, rule: Rule) -> Part:
    """Worths are points as they stand in the table."""
    return Part(title, points, (rule,), out_of=points)


H5: Final = Scorecard(
    "h5",
    "Point model",
    "H5",
    parts=(
        _part("Logins", 10, Steps("active_days", 0, ((1, 4), (4, 7), (20, 10)))),
        _part("Feature adoption", 15, Steps("core_feature_pct", 0, ((50, 5), (70, 10), (90, 15)))),
        # An account that does not use the API is told of without this metric, and scored out of 90 (H5.3).
        _part("API use", 10, Labels("api_use", (("none", 0), ("declining", 3), ("stable", 7), ("growing", 10)))),
        _part("Data quality", 5, Labels("data_quality", (("low", 0), ("medium", 3), ("high", 5)))),
        _part("Return", 20, Steps("roi", 0, ((1, 5), (2, 10), (3, 15), (over(5), 20)))),
        _part("Lead volume", 10, Steps("lead_growth_pct", 0, ((0, 5), (25, 7), (over(50), 10)))),
        _part("Satisfaction", 10, Steps("satisfaction", 0, ((2, 1), (3, 4), (4, 7), (5, 10)))),
        _part(
            "Support",
            5,
            Labels("support_sentiment", (("negative", 0), ("neutral", 3), ("positive", 5), ("advocate", 5))),
        ),
        _part("Executives", 5, Labels("executive_engagement", (("none", 0), ("occasional", 3), ("regular", 5)))),
        _part(
            "Payment", 5, Labels("payment", (("often_late", 0), ("sometimes_late", 2), ("on_time", 5), ("auto_pay", 5)))
        ),
        _part(
            "Contract",
            5,
            Labels(
                "contract",
                (("at_risk", 0), ("month_to_month", 2), ("quarterly", 2), ("annual", 5), ("multi_year", 5)),
            ),
        ),
    ),
    bands=(
        Band(90, "champion", "Champion", "CSM: expansion and advocacy"),
        Band(75, "healthy", "Healthy", "CSM: optimise and upsell"),
        Band(60, "at_risk", "At Risk", "CSM and manager: intervene, train"),
        Band(40, "critical", "Critical", "manager and executive: escalate, recovery plan"),
        Band(0, "lost", "Lost", "executive: win back, once they have left (P20.2)"),
    ),
)
