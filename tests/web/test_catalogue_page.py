"""`/playbooks`: every playbook, as the code has it, with its picture."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from models.database import Database
from tests.town import fresh_database
from tests.web.wire import Answer, Receiver, receiving, request
from web.security_headers import PICTURE_POLICY
from workers.authoring import PICTURES, catalogue_for_the_web
from workflows import PLAYBOOKS
from workflows.steps import name_of

NAMES = [name_of(each) for each in PLAYBOOKS]


@pytest.fixture(scope="module")
async def site(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Receiver]:
    """The application as `holdfast web` makes it: with the catalogue."""
    database = Database(fresh_database(migrated, tmp_path_factory.mktemp("site")))
    async with receiving(database, catalogue=catalogue_for_the_web) as receiver:
        yield receiver
    await database.close()


async def get(site: Receiver, path: str) -> Answer:
    """A page."""
    # The catalogue is made at the first look, which may take seconds on a busy machine.
    return await site.exchange(request(b"", [], b"GET", path.encode()), patience_s=30)


async def test_the_page_names_every_playbook_and_shows_its_calendar_and_picture(site: Receiver) -> None:
    answer = await get(site, "/playbooks")
    html = answer.body.decode()
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert re.findall(r'<h2 id="(.*?)">\1</h2>', html) == NAMES
    assert re.findall(r'<img class="calendar" src="/playbooks/(.*?)\.svg"', html) == NAMES
    assert "Ask the CSM to call about the payment." in html
    assert "e-mail: Account limited in 7 days (dunning.d7)" in html


@pytest.mark.parametrize("name", NAMES)
async def test_each_picture_is_the_one_in_the_docs(site: Receiver, name: str) -> None:
    answer = await get(site, f"/playbooks/{name}.svg")
    assert (answer.status, answer.headers["content-type"]) == (200, "image/svg+xml")
    assert answer.headers["content-security-policy"] == PICTURE_POLICY, "or its colours are lost"
    assert answer.body == (PICTURES / f"{name}.svg").read_bytes()
    assert ElementTree.fromstring(answer.body).tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314 - our own


@pytest.mark.parametrize("name", ["dunning", "..%2F..%2Fetc%2Fpasswd", "payment-failure.svg"])
async def test_a_name_that_is_no_playbooks_is_not_found(site: Receiver, name: str) -> None:
    assert (await get(site, f"/playbooks/{name}.svg")).status == 404
