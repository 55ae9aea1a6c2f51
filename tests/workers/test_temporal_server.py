import asyncio
from pathlib import Path

import pytest

from workers import temporal_server
from workers.temporal_server import Found, TemporalNotFound, at_least, devserver_name, find, server_version


def script(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def fake(path: Path, server: str) -> Path:
    return script(path, f"echo 'temporal version 1.9.1 (Server {server}, UI 2.54.1)'")


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing to be found: an empty PATH folder, an empty cache, no download. Returns the folder of both."""
    for name in ("TEMPORAL_ADDRESS", "HOLDFAST_TEMPORAL_BIN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOLDFAST_TEMPORAL_DOWNLOAD", "no")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path


@pytest.mark.parametrize(
    ("text", "version", "skips"),
    [
        ("temporal version 1.9.1 (Server 1.32.0, UI 2.54.1)", "1.32.0", True),
        ("temporal version 1.5.1 (Server 1.29.1, UI 2.42.1)", "1.29.1", False),
        ("holdfast devserver (Server 1.32.0, UI 2.54.1)", "1.32.0", True),
        ("temporal version 2.0.0 (Server 2.0.1, UI 3.0.0)", "2.0.1", True),
        ("temporal version 1.9 (Server v1.33, UI 2.60.0)", "1.33", True),
        ("temporal version 0.0.0-DEV", "", False),
        ("", "", False),
    ],
)
def test_versions(text: str, version: str, skips: bool) -> None:
    assert server_version(text) == version
    assert at_least(version, temporal_server.SKIPS_TIME) is skips


async def test_the_order_of_preference(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = bare / "cache"
    built = fake(cache / devserver_name(), "1.32.0")
    assert (await find(cache=cache)).executable == built
    downloaded = fake(cache / f"temporal-{temporal_server.CLI_VERSION}", "1.32.0")
    assert await find(cache=cache) == Found("download", downloaded, None, "1.32.0", True)
    on_path = fake(bare / "bin" / "temporal", "1.33.0")
    assert await find(cache=cache) == Found("path", on_path, None, "1.33.0", True)
    named = fake(bare / "named", "1.20.0")
    monkeypatch.setenv("HOLDFAST_TEMPORAL_BIN", str(named))
    assert await find(cache=cache, need_time_skipping=True) == Found("path", named, None, "1.20.0", False)


async def test_an_old_one_on_path_is_used_or_passed_over_and_that_is_said(bare: Path) -> None:
    cache, said = bare / "cache", list[str]()
    old = fake(bare / "bin" / "temporal", "1.29.1")
    fake(cache / devserver_name(), "1.32.0")
    assert await find(cache=cache, say=said.append) == Found("path", old, None, "1.29.1", False)
    assert (await find(cache=cache, say=said.append, need_time_skipping=True)).how == "build"
    assert [line.rpartition(": ")[2] for line in said] == ["used, but it cannot skip time.", "passed over."]


async def test_a_broken_executable_is_not_taken(bare: Path) -> None:
    script(bare / "bin" / "temporal", "exit 1")
    built = fake(bare / "cache" / devserver_name(), "1.32.0")
    assert (await find(cache=bare / "cache")).executable == built


async def test_go_too_old_is_not_used_and_go_builds_once(bare: Path) -> None:
    cache, calls = bare / "cache", bare / "calls"
    go = bare / "bin" / "go"
    script(go, "echo go1.25.9")
    with pytest.raises(TemporalNotFound):
        await find(cache=cache)
    # A Go whose "build" writes a server to the path after -o.
    script(
        go,
        f"""[ "$1" = env ] && echo go1.27.0 && exit
echo built >> {calls}
while [ "$1" != -o ]; do shift; done
printf '#!/bin/sh\\necho "(Server 1.32.0, UI 2)"\\n' > "$2"; /bin/chmod +x "$2"; echo a/package >&2""",
    )
    said: list[str] = []
    both = await asyncio.gather(find(cache=cache, say=said.append), find(cache=cache, say=said.append))
    assert {found.how for found in both} == {"build"}
    assert calls.read_text() == "built\n"
    assert "3-7 minutes" in said[0]
    assert {path.name for path in cache.iterdir()} == {"lock", devserver_name()}


async def test_a_failed_build_shows_why(bare: Path) -> None:
    script(bare / "bin" / "go", '[ "$1" = env ] && echo go1.26.0 && exit\necho "go: no such module" >&2; exit 1')
    with pytest.raises(TemporalNotFound, match="no such module"):
        await find(cache=bare / "cache", say=lambda _: None)


async def test_nothing_left_is_one_clear_sentence(bare: Path) -> None:
    with pytest.raises(TemporalNotFound) as caught:
        await find(cache=bare / "cache")
    for way in ("TEMPORAL_ADDRESS", "PATH", "HOLDFAST_TEMPORAL_BIN", "temporal.download", "Go 1.26"):
        assert way in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value"), [("TEMPORAL_ADDRESS", "127.0.0.1:1"), ("HOLDFAST_TEMPORAL_BIN", "/nowhere/temporal")]
)
async def test_what_the_environment_names_must_work(
    bare: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(TemporalNotFound, match=f"{variable} is .?{value}"):
        await find(cache=bare / "cache")
