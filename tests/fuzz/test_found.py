"""What the fuzzer found once stays fixed; every target takes a walk in each test run; and the oracles bite."""

import random
from pathlib import Path
from typing import Any

import pytest

import tests.fuzz.targets as fuzzed
import web.webhooks
from tests.fuzz.__main__ import FOUND, MEMORY, Watch, main
from tests.fuzz.targets import TARGETS, RowWithoutYes, ServerError, the_site
from tests.web.events import encoded, event

KEPT = sorted(path for path in FOUND.iterdir() if not path.name.startswith("."))


def test_the_shares_are_the_whole() -> None:
    assert sum(target.share for target in TARGETS.values()) == pytest.approx(1)


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.name)
def test_what_was_found_stays_fixed(path: Path) -> None:
    TARGETS[path.name.split("-")[0]].run(path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_a_short_walk_breaks_nothing(name: str) -> None:
    target, dice = TARGETS[name], random.Random(name)
    for seed in target.seeds:
        target.run(seed)
    for _ in range(150):
        target.run(dice.randbytes(dice.randrange(60)))


@pytest.mark.parametrize("length", [b"3\xb33", b"\xb2", b"9" * 5_000, b"+5", b""])
def test_a_content_length_that_is_no_number_is_nobody_s_crash(length: bytes) -> None:
    """The find above in words: its bytes mean something else once the order of choices changes. h11 would not let such
    a header through, other servers might."""
    before = the_site().rows()
    status, _ = the_site().ask("POST", "/webhooks/stripe", [(b"content-length", length)], [b"{}"])
    assert status == (413 if len(length) > 18 else 400)
    assert the_site().rows() == before


def taken(*arguments: Any, **more: Any) -> str:
    """A check that was taken out."""
    return "msg_other"


@pytest.mark.parametrize(
    ("target", "check", "data"),
    [
        ("signature_header", "check_stripe_signature", b"t=1000,v1=a"),
        ("standard_webhook", "check", b""),
        ("pay_token", "subject_of", b"x"),
        ("strict_json", "parse_object", b"{}"),
    ],
)
def test_without_its_check_the_target_finds_it(
    target: str, check: str, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzzed, check, taken)
    with pytest.raises(AssertionError):
        TARGETS[target].run(data)


UNSIGNED = bytes([7, 0, 0, 0]) + encoded(event(id="evt_unsigned"))
"""The choices: headers of our own, one of them without a value, and the body as it stands."""


def test_without_the_signature_check_a_row_without_a_yes_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    TARGETS["application"].run(UNSIGNED)
    monkeypatch.setattr(web.webhooks, "the_one_header", taken)
    monkeypatch.setattr(web.webhooks, "check_stripe_signature", taken)
    with pytest.raises(RowWithoutYes):
        TARGETS["application"].run(UNSIGNED)


def test_a_server_that_breaks_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web.webhooks, "the_one_header", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        TARGETS["application"].run(UNSIGNED)


def test_what_breaks_is_counted_and_kept_once_for_each_place(tmp_path: Path) -> None:
    def run(data: bytes) -> None:
        if data == b"5xx":
            raise ServerError
        if data == b"row":
            raise RowWithoutYes
        if data.startswith(b"bug"):
            raise KeyError(data)

    watch = Watch("strict_json", run, 100, tmp_path)
    for data in (b"fine", b"5xx", b"row", b"bug 1", b"bug 2", b"fine"):
        watch.one(data)
    assert watch.counted == {"inputs": 6, "crashes": 2, "server_errors": 1, "rows_without_yes": 1}
    assert sorted(path.read_bytes() for path in tmp_path.iterdir()) == [b"5xx", b"bug 1", b"row"]
    assert all(path.name.startswith("strict_json-") for path in tmp_path.iterdir())


def test_a_run_counts_every_input_and_ends_well(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = set(MEMORY.glob("tmp*"))
    assert main(["--runs", "2000", "--seed", "1", "--only", "application", "--found", str(tmp_path)]) == 0
    assert set(MEMORY.glob("tmp*")) <= before, "nothing is left behind"
    said = capfd.readouterr().out.splitlines()[-1]
    assert said.startswith(
        '{"inputs": 2000, "by_target": {"application": 2000}, '
        '"crashes": 0, "server_errors": 0, "rows_without_yes": 0, "seconds": '
    )


def test_a_run_whose_process_dies_ends_badly(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--runs", "10", "--only", "no_such_target", "--found", str(tmp_path)]) == 1
    assert '"crashes": 1' in capfd.readouterr().out
