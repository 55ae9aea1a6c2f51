"""H4, six dimensions, each the mean of its signals that are known (ledger H4)."""

from typing import Final

from models.health.scorecard import Band, Part, Proportion, Scorecard, labelled

H4: Final = Scorecard(
    "h4",
    "Six-dimension health",
    "H4",
    parts=(
        Part(
            "Usage frequency",
            25,
            (Proportion("dau_mau_pct"), Proportion("session_index"), Proportion("recency_index")),
            mean=True,
        ),
        Part("Feature depth", 20, (Proportion("core_feature_pct"),), mean=True),
        Part("Engagement", 20, (Proportion("time_index"), Proportion("action_index")), mean=True),
        Part(
            "Satisfaction",
            15,
            (
                Proportion("nps", 10),
                Proportion("csat_pct"),
                labelled("support_sentiment", ("negative", "neutral", "positive", "advocate")),
            ),
            mean=True,
        ),
        Part("Growth", 10, (Proportion("seat_index"), Proportion("upgrade_index")), mean=True),
        Part("Relationship", 10, (Proportion("community_index"), Proportion("referral_index")), mean=True),
    ),
    bands=(
        Band(80, "healthy", "Healthy", "upsell"),
        Band(60, "stable", "Stable", "monitor"),
        Band(40, "at_risk", "At Risk", "automated intervention"),
        Band(0, "critical", "Critical", "human outreach"),
    ),
)
