"""The compose file, the Dockerfile and .env.example, as far as they can be checked without running a container."""

import re
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from workers.connect import GRACE
from workers.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
OUR_PROCESSES = {"migrate", "web", "relay", "worker"}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """The services with their anchors filled in."""
    read: dict[str, Any] = YAML(typ="safe").load(ROOT / "docker-compose.yml")
    found: dict[str, Any] = read["services"]
    return found


def test_the_compose_file_fits_its_schema() -> None:
    command = [".venv/bin/check-jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_command_is_one_of_the_command_line(services: dict[str, Any]) -> None:
    cli = (ROOT / "workers" / "cli.py").read_text(encoding="utf-8")
    there = set(re.findall(r"@app\.command\(\)\n(?:async )?def (\w+)", cli))
    for name in OUR_PROCESSES:
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
            wanted = "service_healthy" if "healthcheck" in services[other] else "service_completed_successfully"
            assert how["condition"] == wanted, (name, other)


def test_a_running_charge_may_finish_before_the_worker_is_killed(services: dict[str, Any]) -> None:
    assert timedelta(seconds=int(services["worker"]["stop_grace_period"].removesuffix("s"))) > GRACE


def test_no_password_stands_in_the_compose_file(services: dict[str, Any]) -> None:
    assert services["web"]["environment"]["DATABASE_URL"] == "postgresql://holdfast@postgres:5432/holdfast"
    assert "POSTGRES_PASSWORD" not in services["postgres"]["environment"]
    assert ".secrets/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


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
