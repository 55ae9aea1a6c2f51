"""`/metrics` of the receiver: who may read it, what is counted under which name, what is asked of the database."""

from datetime import datetime
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlmodel import text

from models.database import Database
from models.tables import wall
from tests.town import fresh_database
from tests.web.events import SECRET, encoded, event, signed
from tests.web.serving import serving
from web.app import WebSettings, create_app
from web.metrics import FORMAT, KEPT_S, WebMetrics
from web.rate_limits import Rate, RateLimits
from web.webhooks import StripeEndpoint

LINK_SECRET = "a-secret-for-links-in-tests"


def figures(text: str) -> dict[str, float]:
    """Every sample of ours, by name and label values; of histograms the counts."""
    return {
        " ".join([sample.name.removeprefix("holdfast_"), *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("holdfast_") and not sample.name.endswith(("_bucket", "_sum", "_created"))
    }


@pytest.fixture
def database(migrated: Path, tmp_path: Path) -> Database:
    return Database(fresh_database(migrated, tmp_path))


async def test_t1_19_every_answer_is_counted_under_its_route_and_status(database: Database) -> None:
    settings = WebSettings(
        StripeEndpoint((SECRET,)), LINK_SECRET, limits=RateLimits(webhooks=Rate(0.001, 3), pages=Rate(1, 50))
    )
    async with serving(create_app(database, settings)) as port, aiohttp.ClientSession() as client:
        base = f"http://127.0.0.1:{port}"
        body = encoded(event())
        good = {"Stripe-Signature": signed(body).decode()}
        for headers, status in ((good, 200), (good, 200), ({"Stripe-Signature": "t=1,v1=00"}, 400), (good, 429)):
            async with client.post(f"{base}/webhooks/stripe", data=body, headers=headers) as answer:
                assert answer.status == status
        for path, status in (("/healthz", 200), ("/cases", 200), ("/pay/zoe@example.com", 400), ("/nowhere/zoe", 404)):
            async with client.get(base + path) as answer:
                assert answer.status == status
        async with client.get(f"{base}/metrics") as answer:
            assert answer.headers["Content-Type"] == FORMAT
            said = await answer.text()
    counted = {name: value for name, value in figures(said).items() if name.startswith("receiver_")}
    assert counted == {
        "receiver_request_seconds_count /webhooks/stripe 200": 2,
        "receiver_request_seconds_count /webhooks/stripe 400": 1,
        "receiver_request_seconds_count other webhooks 429": 1,
        "receiver_request_seconds_count /cases 200": 1,
        "receiver_request_seconds_count /pay/{token:path} 400": 1,
        "receiver_request_seconds_count other pages 404": 1,
    }
    assert figures(said)["inbox_undelivered stripe"] == 1 and figures(said)["database_up"] == 1
    assert "zoe" not in said and "process_resident_memory_bytes" in said
    await database.close()


@pytest.mark.parametrize(
    ("password", "given", "status"), [("", "", 200), ("x" * 16, "", 401), ("x" * 16, "x" * 16, 200)]
)
async def test_the_receivers_own_page_is_for_staff(database: Database, password: str, given: str, status: int) -> None:
    app = create_app(database, WebSettings(StripeEndpoint((SECRET,)), LINK_SECRET, staff_password=password))
    login = {"Authorization": aiohttp.encode_basic_auth("prometheus", given)} if given else {}
    async with (
        serving(app) as port,
        aiohttp.ClientSession(headers=login) as client,
        client.get(f"http://127.0.0.1:{port}/metrics") as answer,
    ):
        assert answer.status == status
    await database.close()


async def test_however_many_ask_the_database_is_asked_once_in_five_seconds(database: Database) -> None:
    at, asked = [0.0], list[datetime]()

    def now() -> datetime:
        asked.append(wall())
        return asked[-1]

    metrics = WebMetrics(clock=lambda: at[0], now=now)
    for at[0] in (0, 1, KEPT_S - 0.1, KEPT_S, KEPT_S + 1):
        await metrics.text(database)
    assert len(asked) == 2
    await database.close()


async def test_a_database_that_is_away_is_a_number_too(database: Database) -> None:
    async with database.writing() as session:
        await session.exec(text("DROP TABLE inbox"))  # type: ignore[call-overload]
    said = figures((await WebMetrics().text(database)).decode())
    assert {name: value for name, value in said.items() if not name.startswith("receiver")} == {"database_up": 0}
    await database.close()
