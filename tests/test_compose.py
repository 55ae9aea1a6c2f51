"""The compose files, the Dockerfile and .env.example, as far as they can be checked without running a container."""

import re
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from workers.connect import GRACE
from workers.secret_files import secrets_of
from workers.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
OUR_PROCESSES = {"migrate", "web", "relay", "worker"}
FILES = ("docker-compose.yml", "docker-compose.production.yml")


def read(name: str) -> dict[str, Any]:
    """A compose file with its anchors filled in."""
    found: dict[str, Any] = YAML(typ="safe").load(ROOT / name)
    return found


@pytest.fixture(scope="module", params=FILES)
def services(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The services of each file."""
    found: dict[str, Any] = read(request.param)["services"]
    return found


@pytest.mark.parametrize("name", FILES)
def test_the_compose_file_fits_its_schema(name: str) -> None:
    command = [".venv/bin/check-jsonschema", "--builtin-schema", "vendor.compose-spec", name]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_command_is_one_of_the_command_line(services: dict[str, Any]) -> None:
    cli = (ROOT / "workers" / "cli.py").read_text(encoding="utf-8")
    there = set(re.findall(r"@app\.command\(\)\n(?:async )?def (\w+)", cli))
    for name in OUR_PROCESSES | ({"codec"} & services.keys()):
        assert services[name]["command"][:4] == ["python", "-m", "workers", name]
        assert name in there
        for option in services[name]["command"][4:]:
            parameter = option.partition("=")[0].removeprefix("--").replace("-", "_")
            assert re.search(rf"\b{parameter}: Annotated", cli), option


def test_every_service_is_bounded_and_none_listens_to_the_world(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["restart"] and service["mem_limit"], name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        waits_for = service.get("depends_on", {})
        for other, how in waits_for.items():
            ends = services[other].get("healthcheck", {"disable": True}).get("disable", False)
            wanted = "service_completed_successfully" if ends else "service_healthy"
            assert how["condition"] == wanted, (name, other)


def test_a_running_charge_may_finish_before_the_worker_is_killed(services: dict[str, Any]) -> None:
    assert timedelta(seconds=int(services["worker"]["stop_grace_period"].removesuffix("s"))) > GRACE


def test_no_password_stands_in_the_compose_file(services: dict[str, Any]) -> None:
    assert services["web"]["environment"]["DATABASE_URL"] == "postgresql://holdfast@postgres:5432/holdfast"
    for name, service in services.items():
        for key, value in service.get("environment", {}).items():
            if re.search("PASSWORD|PWD|SECRET|_KEY", key):
                assert value == "" or value.startswith("/run/secrets/"), (name, key)
                mounted = value.removeprefix("/run/secrets/")
                assert not mounted or mounted in service["secrets"], (name, key)
    assert ".secrets/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


PRODUCTION = read("docker-compose.production.yml")


def test_in_production_every_image_is_pinned_and_every_service_has_a_share() -> None:
    for name, service in PRODUCTION["services"].items():
        image = service["image"]
        assert image.startswith("holdfast:") or re.search(r":v?\d+\.\d+(\.\d+)?$", image), (name, image)
        assert service["cpus"] and service["networks"], name
        ends = name in {"migrate", "temporal-schema", "temporal-namespace"}
        assert ends or name == "temporal-ui" or not service["healthcheck"].get("disable"), name


def test_in_production_only_what_has_to_reaches_the_internet() -> None:
    networks = PRODUCTION["networks"]
    assert {name for name, said in networks.items() if not (said or {}).get("internal")} == {"outside"}
    services = PRODUCTION["services"]
    inside = {name for name, service in services.items() if "outside" not in service["networks"]}
    assert inside == {"postgres", "migrate", "temporal", "temporal-schema", "temporal-namespace"}
    assert {name for name, service in services.items() if "ports" in service} <= services.keys() - inside
    assert "temporal" not in services["web"]["networks"], "the receiver needs the database, not Temporal"


def test_in_production_secrets_are_files_under_names_that_settings_know() -> None:
    environment = PRODUCTION["services"]["worker"]["environment"]
    files = {name.removesuffix("_FILE").lower() for name in environment if name.endswith("_FILE")}
    assert files <= set(secrets_of(Settings))
    plain = {name.lower() for name in environment if not name.endswith("_FILE")}
    assert plain <= set(Settings.model_fields)
    assert {name for name in plain if environment[name.upper()] == ""} == files - {"database_password"}
    assert all(said == {"file": f".secrets/{name}"} for name, said in PRODUCTION["secrets"].items())


def test_every_file_that_a_service_is_given_is_there() -> None:
    for service in PRODUCTION["services"].values():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert not source.startswith("./") or (ROOT / source).is_dir(), source
    for script in ("schema.sh", "namespace.sh"):
        path = ROOT / "deploy" / "temporal" / script
        assert subprocess.run(["sh", "-n", str(path)], check=False).returncode == 0
        assert f"/deploy/{script}" in str(PRODUCTION["services"])


def test_the_image_has_the_rooms_it_needs_and_no_other() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    rooms = set(re.findall(r"^COPY (\w+) \w+$", dockerfile, re.MULTILINE))
    assert rooms == {"models", "workflows", "activities", "web", "workers", "emails", "migrations"}
    let_in = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(let_in) == rooms | {"pyproject.toml", "requirements.lock"}
    assert re.findall(r"^USER (\d+)", dockerfile, re.MULTILINE)[-1] != "0"
    uv = re.search(r"UV_VERSION := (\S+)", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert uv and f"uv=={uv[1]}\n" in dockerfile


def test_every_setting_stands_in_the_example_with_a_line_about_it() -> None:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    settings = {match[1]: at for at, line in enumerate(lines) if (match := re.match(r"#?([A-Z_]+)=", line))}
    assert sorted(settings) == sorted(name.upper() for name in Settings.model_fields)
    for name, at in settings.items():
        assert lines[at - 1].startswith("# "), f"{name} has no comment above it"


def test_the_example_is_valid_but_for_what_only_you_know(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    example = Settings(_env_file=ROOT / ".env.example")
    refused = {problem.split()[0] for problem in example.problems()}
    assert refused == {"STRIPE_API_KEY", "STRIPE_WEBHOOK_SECRETS", "LINK_SECRET"}
    kept = example.model_dump(exclude={"stripe_api_key", "stripe_webhook_secrets"})
    assert kept == Settings(_env_file=None).model_dump(exclude={"stripe_api_key", "stripe_webhook_secrets"})
