"""What an account may do: one row, the product told until it says yes, under one id and a signature it can check."""

import base64
import hashlib
import hmac
import json
import time

import pytest

from activities.systems import TryAgain
from models.cases import AccessLevel, SetAccess
from models.tables import Access
from tests.activities.errands import NOW, batch, case_of, once, row_of, states
from tests.town import Customer, Town

PRODUCT = "/product/access"


def access(person: Customer, level: AccessLevel, number: int = 1) -> SetAccess:
    """An access effect of the step."""
    return SetAccess(key=f"{person.case}/step/{number}", title="Access", level=level)


async def test_p1_18_the_product_is_told_until_it_says_yes(place: Town) -> None:
    person = await case_of(place, "insufficient_funds")
    restrict = access(person, "restricted")
    await place.simulator.add_fault("500_after", PRODUCT, method="POST")
    with pytest.raises(TryAgain, match=r"the product answered 500 to access\.changed"):
        await once(place.effects, batch(person, restrict))
    for _ in range(2):
        await once(place.effects, batch(person, restrict))
    calls = await place.simulator.product_calls()
    assert [call["headers"]["webhook-id"] for call in calls] == [restrict.key, restrict.key]
    assert calls[0]["raw"] == calls[1]["raw"]
    (row,) = await place.rows(Access)
    assert (row.account_id, row.level, row.key, row.since) == (person.id, "restricted", restrict.key, NOW)
    assert (await row_of(place, restrict)).state == "done"


@pytest.mark.parametrize("kind", ["401", "429", "503", "500_before", "cut_before", "cut_after", "cut_midway"])
async def test_p1_18_whatever_the_product_answers_it_ends_up_told(place: Town, kind: str) -> None:
    person = await case_of(place, "insufficient_funds")
    await place.simulator.add_fault(kind, PRODUCT, method="POST")
    wanted = batch(person, access(person, "restricted"))
    if kind != "cut_midway":  # the status came through, and nobody reads the body
        with pytest.raises(TryAgain):
            await once(place.effects, wanted)
    await once(place.effects, wanted)
    calls = await place.simulator.product_calls()
    assert {call["headers"]["webhook-id"] for call in calls} == {access(person, "restricted").key}
    assert await states(place) == {"step/1": "done"}


async def test_p1_18_the_signature_is_that_of_standard_webhooks(place: Town) -> None:
    person = await case_of(place, "insufficient_funds")
    before = int(time.time())
    await once(place.effects, batch(person, access(person, "restricted")))
    (call,) = await place.simulator.product_calls()
    told = call["headers"]
    signed = f"{told['webhook-id']}.{told['webhook-timestamp']}.{call['raw']}".encode()
    digest = hmac.new(b"town", signed, hashlib.sha256).digest()  # the town's secret is whsec_ + base64 of "town"
    assert told["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"
    assert before <= int(told["webhook-timestamp"]) <= int(time.time())
    assert told["content-type"] == "application/json"
    assert json.loads(call["raw"]) == {
        "type": "access.changed",
        "timestamp": NOW.isoformat(),
        "data": {
            "account": person.id,
            "level": "restricted",
            "allows": "reading, billing and data export; a banner is shown",
        },
    }


async def test_p1_14_full_access_is_not_announced_to_who_has_it(place: Town) -> None:
    person = await case_of(place, "insufficient_funds")
    await once(place.effects, batch(person, access(person, "full")))
    row = await row_of(place, access(person, "full"))
    assert (row.state, row.rule, row.reason) == ("dropped", "changes_something", "access is already full")
    assert (await place.simulator.product_calls(), await place.rows(Access)) == ([], [])


async def test_p1_13_access_goes_down_and_up_and_each_change_is_told_once(place: Town) -> None:
    person = await case_of(place, "insufficient_funds")
    levels: list[AccessLevel] = ["restricted", "restricted", "suspended", "restricted", "full", "full"]
    for number, level in enumerate(levels):
        await once(place.effects, batch(person, access(person, level, number)))
    told = [json.loads(call["raw"])["data"]["level"] for call in await place.simulator.product_calls()]
    assert told == ["restricted", "suspended", "full"]
    assert list((await states(place)).values()).count("dropped") == 3
    (row,) = await place.rows(Access)
    assert row.level == "full"
