"""The alerts, the dashboard, the document and what processes show know each other; Prometheus reads it all."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from models.vitals import GAUGES
from tests import test_alerts as stories
from tests.promtool import ROOT, RULES, promtool
from workers.relay_metrics import RelayMetrics


def rules() -> dict[str, dict[str, Any]]:
    """Every alert by its name."""
    read = YAML(typ="safe").load(RULES.read_text(encoding="utf-8"))
    return {rule["alert"]: rule for group in read["groups"] for rule in group["rules"]}


def test_every_alert_is_seen_firing_here() -> None:
    seen = set(re.findall(r'\("(Holdfast\w+)"', Path(stories.__file__).read_text(encoding="utf-8")))
    assert seen == set(rules())


def test_every_alert_has_its_paragraph_and_every_number_its_row() -> None:
    document = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\*\*`(Holdfast\w+)`", document, re.MULTILINE)) == set(rules())
    ours = {*GAUGES, "holdfast_database_up", "holdfast_receiver_request_seconds", "holdfast_gate_decisions_total"}
    ours |= {"holdfast_effects_total"} | {
        family.name for family in RelayMetrics().registry.collect() if family.name.startswith("holdfast_")
    }
    missing = {name for name in ours if f"`{name}" not in document}
    assert missing == set()


def test_alerts_and_pictures_ask_for_numbers_that_there_are() -> None:
    known = {
        *GAUGES,
        "holdfast_database_up",
        "holdfast_receiver_request_seconds",
        "holdfast_gate_decisions",
        "holdfast_effects",
    }
    known |= {family.name for family in RelayMetrics().registry.collect()}
    texts = [RULES.read_text(encoding="utf-8")]
    texts += [path.read_text(encoding="utf-8") for path in (ROOT / "deploy" / "grafana" / "dashboards").glob("*.json")]
    for name in re.findall(r"\bholdfast_\w+", "\n".join(texts)):
        assert re.sub(r"_(bucket|count|sum|total)$", "", name) in known or name in known, name


def test_prometheus_takes_the_configuration_and_every_query_of_the_dashboard(tmp_path: Path) -> None:
    board = json.loads((ROOT / "deploy" / "grafana" / "dashboards" / "holdfast.json").read_text(encoding="utf-8"))
    queries = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    assert len(queries) > 20
    recorded = [{"record": f"query:{number}", "expr": each} for number, each in enumerate(queries)]
    YAML(typ="safe").dump({"groups": [{"name": "dashboard", "rules": recorded}]}, tmp_path / "dashboard.yml")
    for command in (
        ("config", ROOT / "deploy" / "prometheus" / "prometheus.yml"),
        ("rules", tmp_path / "dashboard.yml"),
    ):
        said = subprocess.run([promtool(), "check", *map(str, command)], capture_output=True, text=True, check=False)
        assert said.returncode == 0, said.stdout + said.stderr


def test_every_picture_stands_under_a_question_and_asks_our_prometheus() -> None:
    board = json.loads((ROOT / "deploy" / "grafana" / "dashboards" / "holdfast.json").read_text(encoding="utf-8"))
    assert board["panels"][0]["type"] == "row"
    for panel in board["panels"]:
        assert panel["title"].endswith("?") == (panel["type"] == "row"), panel["title"]
        assert panel["type"] == "row" or panel["datasource"]["uid"] == "prometheus"
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_every_alert_says_how_urgent_it_is_and_what_has_happened() -> None:
    for name, rule in rules().items():
        assert rule["labels"]["severity"] in {"page", "ticket"}, name
        assert rule["annotations"]["summary"].endswith((".", "?")), name
