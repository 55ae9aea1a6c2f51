"""`python -m bench.mutants`: take each guard out, in a copy, and see its test go red."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import Final

from bench.mutants.guards import GUARDS, Guard

ROOT: Final = Path(__file__).parents[2]
LEFT_OUT: Final = shutil.ignore_patterns(
    ".venv", ".tools", ".git", "__pycache__", ".holdfast", ".*_cache", ".hypothesis"
)


def main() -> int:
    """Run them all; 1 if a guard can be taken out without a test noticing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="only guards whose names hold one of these words")
    parser.add_argument("--at-once", type=int, default=2)
    asked = parser.parse_args()
    guards = [each for each in GUARDS if not asked.names or any(word in each.name for word in asked.names)]
    began = time.monotonic()
    copies: Queue[Path] = Queue()
    with tempfile.TemporaryDirectory(prefix="holdfast-mutants-") as folder:
        for number in range(asked.at_once):
            copies.put(copied(Path(folder) / str(number)))

        def judged(guard: Guard) -> str:
            copy = copies.get()
            try:
                verdict = judge(copy, guard)
            finally:
                copies.put(copy)
            sys.stderr.write(f"{verdict:>10}  {guard.name}\n")
            sys.stderr.flush()
            return verdict

        with ThreadPoolExecutor(asked.at_once) as pool:
            verdicts = list(pool.map(judged, guards))
    unnoticed = [guard.name for guard, verdict in zip(guards, verdicts, strict=True) if verdict != "noticed"]
    figures = {
        "bench": "mutants",
        "guards": len(guards),
        "noticed": verdicts.count("noticed"),
        "not_noticed": unnoticed,
        "seconds": round(time.monotonic() - began, 1),
        "holds": not unnoticed,
    }
    sys.stdout.write(json.dumps(figures) + "\n")
    return 1 if unnoticed else 0


def copied(target: Path) -> Path:
    """A checkout to break, with the tools of this one."""
    shutil.copytree(ROOT, target, ignore=LEFT_OUT)
    for name in (".venv", ".tools"):
        (target / name).symlink_to((ROOT / name).resolve())
    return target


def judge(copy: Path, guard: Guard) -> str:
    """`noticed` if the guard's test passes with it and fails without it; else what is wrong."""
    path = copy / guard.file
    whole = path.read_text(encoding="utf-8")
    if guard.old not in whole:
        return "not there"
    try:
        path.write_text(whole.replace(guard.old, guard.new, 1), encoding="utf-8")
        without = passes(copy, guard)
    finally:
        path.write_text(whole, encoding="utf-8")
    if without:
        return "unnoticed"
    return "noticed" if passes(copy, guard) else "red anyway"


def passes(copy: Path, guard: Guard) -> bool:
    """Whether the guard's test passes in the copy as it stands."""
    words = ["-k", guard.words] if guard.words else []
    asked = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", guard.test, *words],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy)},
        capture_output=True,
        check=False,
    )
    if asked.returncode not in (0, 1):
        raise RuntimeError(f"{guard.name}: pytest ended with {asked.returncode}: {asked.stdout.decode()[-2000:]}")
    return asked.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
