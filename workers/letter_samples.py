"""Every letter with sample words, in every language: what `/templates` shows."""

from datetime import timedelta
from typing import Final

from activities import letters
from activities.merge_fields import Fields
from models.cases import Batch, Email
from models.picture import Person, Picture
from models.policy import Policy
from web.templates_page import Sample
from workers.catalogue import BEGAN
from workers.letter_check import GIVES, SampleOffer, sample_fields

WORDS: Final = {
    "restrict_date": BEGAN + timedelta(days=14),
    "suspend_date": BEGAN + timedelta(days=30),
}
OF_PLAYBOOKS: Final[dict[str, str | int]] = {
    "day": 5,
    "topic": "Analytics walkthrough",
    "missed": "value assessment, executive sponsor",
    "resume_date": "Monday 1 March",
    "handoff": "stakeholders: Zoe, Bo; promised: import of old data",
    "value_metric": "42 reports in the last 30 days",
    "renewal_date": "Sunday 31 January 2027",
    "decline": "soft",
    "days_left": 12,
    "rule": "more than 3 open tickets, and satisfaction below 3",
    "cause": "low adoption",
    "advanced_feature": "automations",
}
"""What playbooks give themselves, or a look that finds more than the preview's sample account has."""


def samples(policy: Policy | None = None) -> list[Sample]:
    """Every template in every language, with the policy's own words and links; sorted by topic and key."""
    rules = policy or Policy()
    known = sample_fields(frozenset().union(*GIVES.values()), rules) | OF_PLAYBOOKS
    picture = Picture(fields=known, people={"billing": Person(name="Zoe Miller", email="zoe@example.com")})
    effect = Email(key="sample/1", title="A sample.", template="", dates=WORDS)
    batch = Batch(
        case="sample", account="sample", subject="sample", playbook="sample", step="sample", title="A sample.",
        since=BEGAN, now=BEGAN,
    )  # fmt: skip
    makes = Fields("https://example.com", "a sample")
    found = []
    for key in letters.templates():
        topic = letters.topic_of(key)
        fields = makes.of(batch, picture, rules, effect, offer=SampleOffer(), topic=topic)
        for locale in letters.locales_of(key):
            letter = letters.render(key, fields, locale)
            found.append(Sample(key, locale, topic, letters.version_of(key, locale), *_parts(letter)))
    return sorted(found, key=lambda sample: (sample.topic, sample.key))


def _parts(letter: letters.Letter) -> tuple[str, str, str]:
    return letter.subject, letter.html, letter.text
