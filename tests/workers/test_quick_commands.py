"""A command waits only for what it needs: modules that take long to import stay out of those that do without."""

import json
from pathlib import Path

import pytest

from models.scans import SCANS
from tests.workers.test_cli import python
from workers.scan_commands import Name

LOADED = """
import json, sys
from workers.cli import app
if sys.argv[1:]:
    app(sys.argv[1:], standalone_mode=False)
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""
SLOW = {"aiohttp", "alembic", "fastapi", "psycopg", "aiosqlite", "sendgrid", "sqlalchemy", "sqlmodel", "stripe"}


async def loaded(folder: Path, *command: str) -> set[str]:
    """The top names of all modules in a fresh process that imported the command line, and ran `command`."""
    code, _, err = await python(folder, "-c", LOADED, *command)
    assert code == 0, err
    return {name.partition(".")[0] for name in json.loads(err)}


async def test_the_command_line_itself_loads_nothing_slow(tmp_path: Path) -> None:
    found = await loaded(tmp_path)
    assert "workers" in found
    assert found & (SLOW | {"temporalio", "pydantic", "jinja2"}) == set()


@pytest.mark.parametrize("command", [("preview", "payment-failure"), ("plans", "check"), ("playbooks",)])
async def test_what_authors_run_all_day_loads_neither_database_nor_clients(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    found = await loaded(tmp_path, *command)
    assert {"temporalio", "workflows"} <= found
    assert found & SLOW == set()


def test_the_names_of_the_scans_are_those_there_are() -> None:
    assert tuple(each.value for each in Name) == SCANS
