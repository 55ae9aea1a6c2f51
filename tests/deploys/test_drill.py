"""The deploy drill (`make deploy-drill`) is long; here only that it has not fallen behind the playbooks."""

import shutil
from pathlib import Path

from bench.deploy.edits import NEEDS_PATCH, NO_PATCH, apply

ROOT = Path(__file__).parents[2]


def test_the_drills_edits_still_fit_the_playbooks(tmp_path: Path) -> None:
    for name in ("models", "workflows"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    assert apply(tmp_path, NO_PATCH) + apply(tmp_path, NEEDS_PATCH) == 20
    for name in {*NO_PATCH, *NEEDS_PATCH}:
        compile((tmp_path / name).read_text(encoding="utf-8"), name, "exec")
