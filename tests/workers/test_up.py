"""`holdfast up`: whose Temporal it uses, and which ports its processes show their numbers at."""

import pytest

from workers.settings import Settings
from workers.temporal_process import Server
from workers.up import _metrics_port, _temporal


async def test_a_temporal_named_in_the_settings_is_used_and_none_is_started(
    temporal: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TEMPORAL_ADDRESS", raising=False)  # as where it stands in .env only
    async with _temporal(Settings(_env_file=None, temporal_address=temporal.address)) as server:
        assert (server.address, server.pid, server.ui_url) == (temporal.address, None, None)


def test_three_processes_on_one_machine_have_a_port_each() -> None:
    on, off = Settings(_env_file=None, metrics_port=9464), Settings(_env_file=None, metrics_port=0)
    assert [_metrics_port(on, place)["METRICS_PORT"] for place in range(3)] == ["9464", "9465", "9466"]
    assert [_metrics_port(off, place)["METRICS_PORT"] for place in range(3)] == ["0", "0", "0"]
