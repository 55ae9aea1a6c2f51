"""The policy file: each rule says which key and why."""

from pathlib import Path
from typing import Any

import pytest

from models.policy import Policy, PolicyError, PolicyFile

RULES: dict[str, tuple[dict[str, Any], str]] = {
    "too few retries": ({"retry_days": [0, 7]}, "retry_days [0, 7]: a soft decline gets 3 to 5 attempts (P1.11)"),
    "too many retries": (
        {"retry_days": [0, 1, 2, 3, 4, 7]},
        "retry_days [0, 1, 2, 3, 4, 7]: a soft decline gets 3 to 5 attempts (P1.11)",
    ),
    "falling retries": ({"retry_days": [3, 0, 7]}, "retry_days [3, 0, 7]: must rise, without repeats, from day 0 on"),
    "repeated retries": ({"retry_days": [0, 0, 7]}, "retry_days [0, 0, 7]: must rise, without repeats, from day 0 on"),
    "retries before day 0": (
        {"retry_days": [-1, 3, 7]},
        "retry_days [-1, 3, 7]: must rise, without repeats, from day 0 on",
    ),
    "last retry too early": (
        {"retry_days": [0, 3, 6]},
        "retry_days [0, 3, 6]: the last attempt belongs on day 7 to 10 (P1.11)",
    ),
    "last retry too late": (
        {"retry_days": [0, 3, 11]},
        "retry_days [0, 3, 11]: the last attempt belongs on day 7 to 10 (P1.11)",
    ),
    "mails in disorder": (
        {"email_days": [0, 7, 3, 10, 14]},
        "email_days [0, 7, 3, 10, 14]: must rise, without repeats",
    ),
    "restricted before the last retry": (
        {"restrict_day": 6},
        "restrict_day 6 must come after the last retry (day 7) and before suspend_day 30 (P1.16)",
    ),
    "suspended before restricted": (
        {"suspend_day": 14},
        "restrict_day 14 must come after the last retry (day 7) and before suspend_day 14 (P1.16)",
    ),
    "cancelled before suspended": ({"hard_cancel_day": 29}, "hard_cancel_day 29 comes before suspend_day 30"),
}


@pytest.mark.parametrize("name", RULES)
def test_p0_15_a_rule_that_is_broken_is_named_with_the_reason(name: str) -> None:
    dunning, reason = RULES[name]
    with pytest.raises(PolicyError) as raised:
        PolicyFile({"dunning": dunning})
    assert str(raised.value) == f"policy: dunning: {reason}"
    with pytest.raises(PolicyError) as raised:
        PolicyFile({"segment": {"enterprise": {"dunning": dunning}}})
    assert str(raised.value) == f"policy: segment.enterprise.dunning: {reason}"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"dunnin": {}}, "policy: dunnin: there is no such key"),
        ({"scans": {"usage": {"hours": 1}}}, "policy: scans.usage.hours: there is no such key"),
        (
            {"scans": {"usage": {"hour": 24}}},
            "policy: scans.usage.hour: Input should be less than or equal to 23",
        ),
        ({"scans": {"window": 0}}, "policy: scans.window: Input should be greater than or equal to 1"),
        (
            {"segment": {"enterprise": {"scans": {"window": 5}}}},
            "policy: segment.enterprise.scans: it is about all accounts; set [scans] instead",
        ),
        ({"dunning": {"restict_day": 10}}, "policy: dunning.restict_day: there is no such key"),
        ({"dunning": {"mode": "both"}}, "policy: dunning.mode: Input should be 'own' or 'observe'"),
        (
            {"dunning": {"day0_retry_delay_h": 24}},
            "policy: dunning.day0_retry_delay_h: Input should be less than or equal to 23",
        ),
        ({"dunning": {"min_amount": -1}}, "policy: dunning.min_amount: Input should be greater than or equal to 0"),
        (
            {"dunning": {"restrict_day": "soon"}},
            "policy: dunning.restrict_day: Input should be a valid integer, unable to parse string as an integer",
        ),
        ({"segment": []}, "policy: [segment.NAME] must be a table"),
        ({"segment": 5}, "policy: [segment.NAME] must be a table"),
    ],
)
def test_p0_15_a_key_or_value_that_is_unknown_is_named(data: dict[str, Any], reason: str) -> None:
    with pytest.raises(PolicyError) as raised:
        PolicyFile(data)
    assert str(raised.value) == reason


def test_p0_15_a_segment_that_is_no_table_is_named() -> None:
    with pytest.raises(PolicyError):
        PolicyFile({"segment": {"enterprise": 5}})


def test_p0_15_the_limits_themselves_are_allowed() -> None:
    edges = {"retry_days": [0, 2, 4, 6, 10], "restrict_day": 10, "suspend_day": 11, "hard_cancel_day": 11}
    assert PolicyFile({"dunning": edges}).default.dunning.retry_days == (0, 2, 4, 6, 10)
    assert PolicyFile({"dunning": {"hard_cancel_day": None}}).default.dunning.hard_cancel_day is None


def test_p0_15_a_segment_overrides_only_what_it_names() -> None:
    read = PolicyFile(
        {
            "dunning": {"restrict_day": 10},
            "segment": {"enterprise": {"dunning": {"suspend_day": 45, "hard_cancel_day": 60}}},
        }
    )
    default, enterprise = read.default.dunning, read.for_segment("enterprise").dunning
    assert (default.restrict_day, default.suspend_day) == (10, 30)
    assert (enterprise.restrict_day, enterprise.suspend_day, enterprise.hard_cancel_day) == (10, 45, 60)
    assert read.for_segment("") is read.for_segment("unknown") is read.default


def test_p0_15_the_version_names_the_contents() -> None:
    versions = [
        PolicyFile(data).default.version
        for data in ({}, {"dunning": {"restrict_day": 10}}, {"dunning": {"restrict_day": 11}})
    ]
    assert versions[0] == "default"
    assert len(set(versions)) == 3
    assert PolicyFile({"dunning": {"restrict_day": 10}}).default.version == versions[1]


def test_p0_15_a_toml_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("[dunning]\nrestrict_day = 10\n[segment.enterprise.dunning]\nsuspend_day = 29\n")
    assert PolicyFile.read(path).for_segment("enterprise").dunning.suspend_day == 29
    assert PolicyFile.read(None).default == Policy()


def test_p0_15_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PolicyError) as raised:
        PolicyFile.read(tmp_path / "none.toml")
    assert str(raised.value) == f"policy: there is no file {tmp_path / 'none.toml'}"


@pytest.mark.parametrize("contents", [b"[dunning", b"restrict_day = ", b"\xff\xfe"])
def test_p0_15_bad_toml_is_named(contents: bytes, tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_bytes(contents)
    with pytest.raises(PolicyError, match="is not valid TOML: "):
        PolicyFile.read(path)
