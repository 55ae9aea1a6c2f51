"""The manifests in deploy/kubernetes, as far as they can be checked without a cluster: parsed, and held to promises."""

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from workers.connect import GRACE
from workers.secret_files import SUFFIX, secrets_of
from workers.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "deploy" / "kubernetes"


def documents(path: Path) -> list[dict[str, Any]]:
    """Every document of a file."""
    return [found for found in YAML(typ="safe").load_all(path.read_text(encoding="utf-8")) if found]


ALL = {path.relative_to(FOLDER).as_posix(): documents(path) for path in sorted(FOLDER.rglob("*.y*ml"))}
BASE = [found for name, several in ALL.items() if name.startswith("base/") for found in several]


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    """Objects of a kind in the base, by name."""
    return {found["metadata"]["name"]: found for found in BASE if found.get("kind") == kind}


WORKLOADS = of_kind("Deployment") | of_kind("Job")
CONTAINERS = [
    (name, found["spec"]["template"]["spec"], container)
    for name, found in WORKLOADS.items()
    for container in found["spec"]["template"]["spec"]["containers"]
]


def test_these_run() -> None:
    assert set(of_kind("Deployment")) == {"web", "relay", "worker"}
    assert set(of_kind("Job")) == {"migrate"}
    assert all(found["spec"]["replicas"] == 2 for found in of_kind("Deployment").values())


@pytest.mark.parametrize(("name", "pod", "container"), CONTAINERS, ids=[name for name, _, _ in CONTAINERS])
def test_every_container_is_bounded_and_may_do_little(
    name: str, pod: dict[str, Any], container: dict[str, Any]
) -> None:
    assert set(container["resources"]) == {"requests", "limits"}
    assert all(set(each) == {"cpu", "memory"} for each in container["resources"].values())
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert (pod["securityContext"]["runAsNonRoot"], pod["securityContext"]["runAsUser"]) == (True, 10001)
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    probes = {"startupProbe", "livenessProbe", "readinessProbe"}
    assert name == "migrate" or probes <= container.keys()
    ports = {each["name"] for each in container.get("ports", [])}
    assert all(container[each]["httpGet"]["port"] in ports for each in probes & container.keys())
    user = re.findall(r"^USER (\d+)", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)[-1]
    assert user == str(pod["securityContext"]["runAsUser"])


@pytest.mark.parametrize(("name", "pod", "container"), CONTAINERS, ids=[name for name, _, _ in CONTAINERS])
def test_every_command_is_one_of_the_command_line(name: str, pod: dict[str, Any], container: dict[str, Any]) -> None:
    cli = (ROOT / "workers" / "cli.py").read_text(encoding="utf-8")
    there = set(re.findall(r"@app\.command\(\)\n(?:async )?def (\w+)", cli))
    assert container["command"] == ["python", "-m", "workers", name]
    assert name in there


def test_a_running_charge_may_finish_before_the_worker_is_killed() -> None:
    grace = {name: found["spec"]["template"]["spec"] for name, found in of_kind("Deployment").items()}
    assert grace["worker"]["terminationGracePeriodSeconds"] > GRACE.total_seconds()


def test_one_of_two_stays_and_they_stand_apart() -> None:
    budgets = of_kind("PodDisruptionBudget")
    for name, found in of_kind("Deployment").items():
        labels = found["spec"]["selector"]["matchLabels"]
        assert budgets[name]["spec"] == {"minAvailable": 1, "selector": {"matchLabels": labels}}
        assert found["spec"]["template"]["metadata"]["labels"] == labels
        assert (
            found["spec"]["template"]["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"] == labels
        )
        assert found["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert (
        of_kind("Service")["web"]["spec"]["selector"] == of_kind("Deployment")["web"]["spec"]["selector"]["matchLabels"]
    )
    assert of_kind("HorizontalPodAutoscaler")["web"]["spec"]["minReplicas"] == 2


def settings_named() -> dict[str, str]:
    """What the config map and the example's patch of it say."""
    patches = [YAML(typ="safe").load(each["patch"]) for each in ALL["example/kustomization.yaml"][0]["patches"]]
    return {**of_kind("ConfigMap")["holdfast"]["data"], **patches[0]["data"]}


def test_every_setting_is_one_that_there_is_and_no_secret_stands_here() -> None:
    secrets = secrets_of(Settings)
    for name, value in settings_named().items():
        lower = name.lower()
        assert isinstance(value, str), name
        assert lower not in secrets, name
        if lower.endswith(SUFFIX):
            assert value == f"/run/secrets/holdfast/{lower.removesuffix(SUFFIX)}"
            assert lower.removesuffix(SUFFIX) in secrets
        else:
            assert lower in Settings.model_fields, name
    assert of_kind("Secret") == {}
    for _, pod, container in CONTAINERS:
        assert {"name": "secrets", "mountPath": "/run/secrets/holdfast", "readOnly": True} in container["volumeMounts"]
        assert pod["volumes"][0]["secret"]["secretName"] == "holdfast"


def test_what_a_kustomization_names_is_there_and_all_of_it_is_named() -> None:
    for folder in ("base", "example"):
        here = FOLDER / folder
        named = {(here / each).resolve() for each in ALL[f"{folder}/kustomization.yaml"][0]["resources"]}
        assert all(each.exists() for each in named)
        assert set(here.glob("*.yml")) <= named


def test_temporal_by_its_chart_stands_on_postgresql_for_good() -> None:
    (values,) = ALL["temporal/values.yml"]
    persistence = values["server"]["config"]["persistence"]
    assert persistence["numHistoryShards"] >= 4
    for store in ("defaultStore", "visibilityStore"):
        sql = persistence["datastores"][persistence[store]]["sql"]
        assert (sql["pluginName"], "password" in sql, sql["existingSecret"]) == (
            "postgres12",
            False,
            "temporal-postgres",
        )
    assert not {"cassandra", "elasticsearch", "mysql", "prometheus", "grafana"} & values.keys()
