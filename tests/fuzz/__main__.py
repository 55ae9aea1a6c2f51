"""`python -m tests.fuzz --runs N`: so many inputs over all targets, each target in a process of its own.

Ends with one line of JSON on standard output; exit code 1 if there was a crash, a 5xx, or a row without a 200.
Where there is no atheris (it has wheels for Linux on x86-64 only) the same targets get random mutations of their
seeds, without coverage to guide them; standard error says so.
"""

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

FOUND: Final = Path(__file__).parent / "found"
MEMORY: Final = Path("/dev/shm")
MOST_KEPT: Final = 20
EVERY: Final = 50_000
HANGS_AFTER_S: Final = 10
Count = dict[str, int]


def main(arguments: list[str] | None = None) -> int:
    """Fuzz; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--runs", type=int, default=1_000_000, help="inputs over all targets together")
    parser.add_argument("--seed", type=int, default=int(time.time()) % 2**31, help="the fuzzer's own dice")
    parser.add_argument("--found", type=Path, default=FOUND, help="where inputs that broke something are kept")
    parser.add_argument("--only", default="", help="one target, all runs for it")
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.child:
        _child(given.child, given.runs, given.seed, given.found)
    return _all(given.runs, given.seed, given.found, given.only)


def _all(runs: int, seed: int, found: Path, only: str) -> int:
    from tests.fuzz.targets import TARGETS

    started = time.monotonic()
    shares = {only: 1.0} if only else {name: target.share for name, target in TARGETS.items()}
    total: Count = {"crashes": 0, "server_errors": 0, "rows_without_yes": 0}
    by_target: Count = {}
    _say(f"{runs:,} inputs, seed {seed}")
    for name, share in shares.items():
        counted = _in_a_process(name, max(1, round(runs * share)), seed, found)
        by_target[name] = counted["inputs"]
        for what in total:
            total[what] += counted.get(what, 0)
    seconds = round(time.monotonic() - started, 1)
    summary = {"inputs": sum(by_target.values()), "by_target": by_target, **total, "seconds": seconds}
    sys.stdout.write(json.dumps(summary) + "\n")
    return 1 if any(total.values()) else 0


def _in_a_process(name: str, runs: int, seed: int, found: Path) -> Count:
    # In memory where there is such a place, and ours to remove: the child ends without cleaning up behind itself.
    with TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        said = Path(folder) / "counted.json"
        command = [sys.executable, "-m", "tests.fuzz", "--child", name, "--runs", str(runs), "--seed", str(seed)]
        log = Path(folder) / "log"
        # What the fuzzer and the application write is kept for the case that the process dies; progress goes past it.
        progress = os.dup(sys.__stderr__.fileno() if sys.__stderr__ else 2)
        environment = {**os.environ, "TMPDIR": folder, "FUZZ_COUNTED": str(said), "FUZZ_PROGRESS": str(progress)}
        with log.open("wb") as noise:
            ended = subprocess.run(
                [*command, "--found", str(found)],
                stdout=noise,
                stderr=noise,
                env=environment,
                pass_fds=(progress,),
                check=False,
            )
        os.close(progress)
        counted: Count = json.loads(said.read_text()) if said.exists() else {"inputs": 0, "crashes": 0}
        if ended.returncode or "server_errors" not in counted:
            # Not by an exception, which is counted: it hung, or died in native code; libFuzzer kept the input.
            tail = log.read_bytes()[-2_000:].decode(errors="replace")
            _say(f"  {name}: the process ended with {ended.returncode}:\n{tail}")
            counted["crashes"] += 1
        return counted


def _say(line: str) -> None:
    os.write(int(os.environ.get("FUZZ_PROGRESS", "2")), f"{line}\n".encode(errors="replace"))


class Watch:
    """Runs a target on each input, counts, keeps what broke it, and ends the process after the last one."""

    def __init__(self, name: str, run: Callable[[bytes], None], runs: int, found: Path) -> None:
        self._name, self._run, self._runs, self._found = name, run, runs, found
        self.counted: Count = {"inputs": 0, "crashes": 0, "server_errors": 0, "rows_without_yes": 0}
        self._seen: set[str] = set()
        self._started = time.monotonic()

    def one(self, data: bytes) -> None:
        """One input."""
        self.counted["inputs"] += 1
        try:
            self._run(data)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what we are looking for
            self._keep(data, error)
        if self.counted["inputs"] % EVERY == 0:
            self._progress()
        if self.counted["inputs"] >= self._runs:
            self.end()

    def _keep(self, data: bytes, error: Exception) -> None:
        kinds = {"ServerError": "server_errors", "RowWithoutYes": "rows_without_yes"}
        self.counted[kinds.get(type(error).__name__, "crashes")] += 1
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{type(error).__name__} {frames[-1].filename}:{frames[-1].lineno}"
        if place in self._seen or len(self._seen) >= MOST_KEPT:
            return
        self._seen.add(place)
        self._found.mkdir(parents=True, exist_ok=True)
        kept = self._found / f"{self._name}-{hashlib.sha256(data).hexdigest()[:16]}"
        kept.write_bytes(data)
        _say(f"  {self._name}: {place}: {error!s:.300}\n    kept as {kept}")

    def _progress(self) -> None:
        rate = self.counted["inputs"] / (time.monotonic() - self._started)
        _say(f"  {self._name}: {self.counted['inputs']:,} of {self._runs:,}, {rate:,.0f}/s")

    def end(self) -> None:
        """Write down the counts and leave at once: libFuzzer has no other end that is not a failure."""
        self._progress()
        Path(os.environ["FUZZ_COUNTED"]).write_text(json.dumps(self.counted))
        sys.stderr.flush()
        os._exit(0)


def _child(name: str, runs: int, seed: int, found: Path) -> None:
    try:
        import atheris
    except ImportError:
        _say("  no atheris here: random mutations, not guided by coverage")
        from tests.fuzz.targets import TARGETS

        _by_chance(Watch(name, TARGETS[name].run, runs, found), TARGETS[name].seeds, random.Random(seed))
        return
    with atheris.instrument_imports(include=["web", "models"]):
        from tests.fuzz.targets import TARGETS
    target = TARGETS[name]
    watch = Watch(name, target.run, runs, found)
    found.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as corpus:
        for number, seed_input in enumerate(target.seeds):
            (Path(corpus) / str(number)).write_bytes(seed_input)
        flags = [
            *(f"-max_len={target.longest}", f"-seed={seed or 1}", "-runs=-1", "-verbosity=0"),
            *(f"-timeout={HANGS_AFTER_S}", "-rss_limit_mb=2048", "-detect_leaks=0"),
            *(f"-artifact_prefix={found}/{name}-", corpus),
        ]
        atheris.Setup([sys.argv[0], *flags], watch.one)
        atheris.Fuzz()


def _by_chance(watch: Any, seeds: tuple[bytes, ...], dice: random.Random) -> None:
    while True:
        data = bytearray(dice.choice(seeds))
        for _ in range(dice.randrange(8)):
            at = dice.randrange(len(data) + 1)
            piece = bytes(dice.choice([dice.randrange(256), *data[:8]]) for _ in range(dice.randrange(6)))
            data[at : at + dice.randrange(4)] = piece
        watch.one(bytes(data[:4096]))


if __name__ == "__main__":
    sys.exit(main())
