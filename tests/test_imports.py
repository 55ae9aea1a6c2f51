"""Who may import whom, what a playbook may say, and that everything public is explained.

The rules are about source text; the last tests look at what Python and the workflow sandbox really load.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from tests.town import Town
from workflows import JOBS, PLAYBOOKS

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ("models", "workflows", "activities", "web", "workers", "simulator")
OURS = {*SHIPPED, "migrations", "tests", "bench"}
OUTSIDE = {"stripe", "sendgrid", "aiohttp", "hubspot"}

MAY_NOT_IMPORT = {
    "models": OURS - {"models"} | OUTSIDE | {"temporalio", "fastapi"},
    "activities": {"workflows", "web", "workers"},
    "web": {"activities", "workers"},
}
MAY_IMPORT_IN_WORKFLOWS = {"models", "workflows", "temporalio", *sys.stdlib_module_names}
MAY_SIMULATE = re.compile(r"(simulator|tests|bench)/|workers/demo\w*(\.py$|/)")
MAY_SPEAK_TEMPORAL = {"playbook.py", "steps.py", "verbs.py", "commands.py", "visible.py", "scan.py", "__init__.py"}

# Whole modules, so that no `from time import time` slips by.
NOT_REPLAYABLE_MODULES = {"time", "random", "os", "uuid", "secrets", "pathlib", "io", "socket", "subprocess"}
NOT_REPLAYABLE = re.compile(r"(?!(temporalio\.)?workflow\.).+\.(now|utcnow|today|uuid4|environ)|uuid4|open")
TEMPORAL_WORDS = re.compile(r"(execute|start)_(local_)?activity\w*|RetryPolicy|start_to_close_timeout|asyncio|sleep")


def imports_of(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every module that is imported anywhere, with its line. A relative import cannot leave its own room."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.lineno, node.module
        elif isinstance(node, ast.Call) and re.search(r"(\bimport_module|__import__)$", ast.unparse(node.func)):
            yield from ((node.lineno, str(each.value)) for each in node.args if isinstance(each, ast.Constant))


def words_of(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every name that is used: variables, dotted names, keywords of calls, and what is imported from where."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute):
            yield node.lineno, ast.unparse(node)
        elif isinstance(node, ast.keyword) and node.arg:
            yield node.lineno, node.arg
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, alias.name) for alias in node.names)
    yield from imports_of(tree)


def broken_rules(path: str, source: str) -> list[str]:
    """Each broken rule as "file:line: rule"."""
    room, name = path.split("/")[0], path.rpartition("/")[2]
    tree, found = ast.parse(source), list[tuple[int, str]]()
    for line, module in imports_of(tree):
        top = module.split(".")[0]
        if top in MAY_NOT_IMPORT.get(room, ()):
            found.append((line, f"{room} may not import {top}"))
        if room == "workflows" and top not in MAY_IMPORT_IN_WORKFLOWS:
            found.append((line, f"workflows import models, workflows, temporalio and the standard library, not {top}"))
        if room == "workflows" and top in NOT_REPLAYABLE_MODULES:
            found.append((line, f"{top} is not the same at a replay: use workflow.now(), or a verb"))
        if top == "simulator" and not MAY_SIMULATE.match(path):
            found.append((line, "only tests, bench and workers.demo import the simulator"))
        if top in {"tests", "bench"} and room not in {"tests", "bench"}:
            found.append((line, f"what is shipped may not import {top}"))
    if room == "workflows":
        for line, word in words_of(tree):
            if NOT_REPLAYABLE.fullmatch(word):
                found.append((line, f"{word} is not the same at a replay: use workflow.now(), or a verb"))
            if name not in MAY_SPEAK_TEMPORAL and any(map(TEMPORAL_WORDS.fullmatch, word.split("."))):
                found.append((line, f"a playbook says it with steps and verbs, not with {word}"))
    if name == "utils.py" or "common" in path.split("/")[:-1]:
        found.append((1, "name a file or folder after what is in it, not utils or common"))
    return [f"{path}:{line}: {rule}" for line, rule in sorted(set(found))]


def sources(*rooms: str) -> Iterator[tuple[str, str]]:
    """The path and the text of every Python file in these rooms."""
    for room in sorted(rooms):
        for path in sorted((ROOT / room).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


def test_every_file_keeps_the_rules() -> None:
    broken = [rule for path, source in sources(*OURS) for rule in broken_rules(path, source)]
    assert not broken, "\n".join(["", *broken])


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("models/x.py", "import temporalio.client"),
        ("models/x.py", "def f():\n    from workflows import PLAYBOOKS"),
        ("models/x.py", "import importlib\nimportlib.import_module('stripe')"),
        ("workflows/playbook.py", "from activities.letters import Letter"),
        ("workflows/playbook.py", "import stripe"),
        ("workflows/playbook.py", "import pydantic"),
        ("workflows/playbook.py", "from datetime import datetime\ndatetime.now()"),
        ("workflows/playbook.py", "import datetime as d\nd.datetime.utcnow()"),
        ("workflows/playbook.py", "from datetime import date\ndate.today()"),
        ("workflows/playbook.py", "from time import time"),
        ("workflows/playbook.py", "os.environ['A']"),
        ("workflows/playbook.py", "import os"),
        ("workflows/playbook.py", "import random"),
        ("workflows/playbook.py", "from uuid import uuid4"),
        ("workflows/playbook.py", "open('a')"),
        ("workflows/new.py", "from temporalio import workflow\nworkflow.execute_activity('a')"),
        ("workflows/new.py", "from temporalio.common import RetryPolicy"),
        ("workflows/new.py", "f(start_to_close_timeout=1)"),
        ("workflows/new.py", "import asyncio"),
        ("workflows/new.py", "from temporalio import workflow\nworkflow.sleep(1)"),
        ("activities/x.py", "from workers.settings import Settings"),
        ("activities/x.py", "import simulator"),
        ("web/x.py", "from activities import billing"),
        ("web/x.py", "from tests.town import town"),
        ("workers/up.py", "from simulator.running import simulator_running"),
        ("web/utils.py", ""),
        ("models/common/x.py", ""),
    ],
)
def test_each_rule_bites(path: str, source: str) -> None:
    broken = broken_rules(path, source)
    assert broken
    assert broken[-1].startswith(f"{path}:{source.count(chr(10)) + 1}: "), "the file and the line"


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("workflows/playbook.py", "from temporalio import workflow\nworkflow.now()\nworkflow.uuid4()"),
        ("workflows/playbook.py", "workflow.execute_activity('a', start_to_close_timeout=1)\nworkflow.sleep(1)"),
        ("workflows/new.py", "from datetime import datetime, timedelta\nnow, time = due\nself.reopen()"),
        ("workers/demo.py", "import simulator"),
        ("workers/demo_town.py", "import simulator"),
        ("activities/x.py", "import stripe\nimport temporalio"),
    ],
)
def test_what_is_allowed_stays_allowed(path: str, source: str) -> None:
    assert broken_rules(path, source) == []


# The call it answers stands in the decorator: @app.get("/healthz"), @played("POST", "/v1/refunds"), @act("GET", ...).
ROUTE = re.compile(r"\w+\.(get|post|put|patch|delete)\('/|\w+\('(GET|POST|PUT|PATCH|DELETE)',")


def unexplained(path: str, source: str) -> Iterator[str]:
    """Public modules, classes, functions and methods without a docstring. What stands inside a function is private."""

    def look(node: ast.Module | ast.ClassDef, within: str) -> Iterator[str]:
        for child in node.body:
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and child.name[0] != "_":
                marks = [ast.unparse(each) for each in child.decorator_list]
                spared = any(ROUTE.match(mark) or mark.endswith(("overload", "override", ".setter")) for mark in marks)
                if not ast.get_docstring(child) and not spared:
                    yield f"{path}:{child.lineno}: {within}{child.name} has no docstring"
                if isinstance(child, ast.ClassDef):
                    yield from look(child, f"{within}{child.name}.")

    tree = ast.parse(source)
    if not ast.get_docstring(tree):
        yield f"{path}:1: the module has no docstring"
    yield from look(tree, "")


def test_a_docstring_is_missed_where_it_should_be() -> None:
    source = """
class Open:
    def method(self): ...
    def _hidden(self): ...
    def __init__(self): ...
@app.get("/healthz")
def route(): ...
@cache
def function():
    def inner(): ...
"""
    lacking = [each.split(": ")[1].split()[0] for each in unexplained("models/x.py", source)]
    assert lacking == ["the", "Open", "Open.method", "function"]


def test_everything_public_has_a_docstring() -> None:
    lacking = [each for path, source in sources(*SHIPPED) for each in unexplained(path, source)]
    assert not lacking, "\n".join(["", *lacking])


def test_importing_the_playbooks_loads_no_client_of_the_outside_world() -> None:
    named = "import sys, workflows; workflows.PLAYBOOKS, workflows.JOBS; "
    program = named + "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "workflows" in loaded.stdout.split()
    assert OUTSIDE & set(loaded.stdout.split()) == set()


@pytest.fixture
def sandboxes(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every sandbox that is made from here on: one for each playbook as a worker starts, one for each run."""
    made: list[Any] = []
    create = SandboxedWorkflowRunner.create_instance

    def keep(runner: SandboxedWorkflowRunner, details: Any) -> Any:
        made.append(create(runner, details))
        return made[-1]

    monkeypatch.setattr(SandboxedWorkflowRunner, "create_instance", keep)
    return made


async def test_inside_the_sandbox_no_run_ever_sees_stripe(sandboxes: list[Any], place: Town) -> None:
    """A sandbox has modules of its own; from the start of a run to its end no outside client is among them."""
    person = await place.payment_fails("insufficient_funds")
    await place.finish(person.case)
    inside = [set(each.importer.new_modules) for each in sandboxes]
    assert {each.instance_details.defn.cls for each in sandboxes} == {*PLAYBOOKS, *JOBS}
    assert any(each.instance_details.info.workflow_id == person.case for each in sandboxes), "the run itself"
    for each, modules in zip(sandboxes, inside, strict=True):
        playbooks = {playbook.__module__ for playbook in (*PLAYBOOKS, *JOBS)} & modules
        assert playbooks == {each.instance_details.defn.cls.__module__}, "its own, and no other: each costs 3 ms a run"
    seen = {name.split(".")[0] for modules in inside for name in modules}
    assert seen & (OUTSIDE | {"fastapi", "activities", "web", "workers", "simulator"}) == set()
