"""Evaluates deploy/prometheus/alerts.yml over what processes of ours really show, with Prometheus' own promtool."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML

from models.tables import wall

ROOT = Path(__file__).resolve().parent.parent
RULES = ROOT / "deploy" / "prometheus" / "alerts.yml"
ASKED_FOR = set(re.findall(r"\b(?:holdfast|temporal)_\w+", RULES.read_text(encoding="utf-8")))
NOTHING = {"labels": "{}", "value": 0}
TIMESTAMP = "_timestamp_seconds"

Alert = tuple[str, ...]
"""An alert's name, and the values of its labels besides `severity`."""


@dataclass(frozen=True)
class Scrape:
    """What a process showed, and showed again: what came to it from `before` to `after` comes to it at every scrape.

    `older` makes timestamps of a name so much older, as if the scrape were so much later.
    """

    job: str
    before: str
    after: str = ""
    older: dict[str, timedelta] = field(default_factory=dict)

    def series(self, times: int) -> list[dict[str, str]]:
        """The series that Prometheus would have after so many scrapes, of those that the alerts ask for."""
        last = _samples(self.after or self.before)
        first = _samples(self.before)
        found = [{"series": f'up{{job="{self.job}", instance="{self.job}:9464"}}', "values": f"1x{times}"}]
        for (name, labels), value in last.items():
            if name not in ASKED_FOR:
                continue
            text = ", ".join(f'{key}="{each}"' for key, each in (*labels, ("job", self.job)))
            begin = first.get((name, labels), 0.0)
            step = value - begin
            if name.endswith(TIMESTAMP) and value:
                # promtool's clock begins at 0.
                begin, step = value - wall().timestamp() - self.older.get(name, timedelta()).total_seconds(), 0.0
            found.append({"series": f"{name}{{{text}}}", "values": f"{begin!r}{step:+}x{times}"})
        return found


def _samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def promtool() -> str:
    """The program; the test is skipped where there is none."""
    named = os.environ.get("HOLDFAST_PROMTOOL") or shutil.which("promtool")
    built = ROOT / ".tools" / "promtool"
    if not named and not built.exists():
        pytest.skip("promtool is not here: `make alerts` builds it")
    return named or str(built)


def firing(folder: Path, scrapes: Iterable[Scrape], after: timedelta) -> set[Alert]:
    """The alerts that fire once things have stood so for some time."""
    minutes = 1 if after <= timedelta(hours=2) else 5
    times = int(after / timedelta(minutes=minutes))
    test: dict[str, Any] = {
        "interval": f"{minutes}m",
        "input_series": [each for scrape in scrapes for each in scrape.series(times)],
        "promql_expr_test": [
            {"expr": 'ALERTS{alertstate="firing"}', "eval_time": f"{minutes * times}m", "exp_samples": [NOTHING]}
        ],
    }
    path = folder / "alerts_test.yml"
    document = {"rule_files": [str(RULES)], "evaluation_interval": f"{minutes}m", "tests": [test]}
    YAML(typ="safe").dump(document, path)
    said = subprocess.run([promtool(), "test", "rules", str(path)], capture_output=True, text=True, check=False)
    # promtool only compares. Nothing is like `{}`, so it always says what there was instead.
    text = said.stdout + said.stderr
    got = re.search(r"^\s+got: ?(.*)$", text, re.MULTILINE)
    assert got, text
    return {_alert(labels) for labels in re.findall(r"\{([^}]*)\}", got[1])}


def _alert(text: str) -> Alert:
    labels = dict(re.findall(r'(\w+)="([^"]*)"', text))
    name = labels.pop("alertname")
    return (
        name,
        *(value for key, value in sorted(labels.items()) if key not in {"__name__", "alertstate", "severity"}),
    )
