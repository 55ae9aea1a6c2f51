"""`/templates`: every letter with sample words, in every language."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from activities import letters
from models.database import Database
from models.policy import Policy
from models.topics import TOPICS
from tests.town import fresh_database
from tests.web.test_catalogue_page import get
from tests.web.wire import Receiver, receiving
from web.security_headers import MAIL_POLICY
from workers.authoring import samples_for_the_web

LETTERS = [(key, locale) for key in letters.templates() for locale in letters.locales_of(key)]


@pytest.fixture(scope="module")
async def site(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Receiver]:
    """The application as `holdfast web` makes it: with the samples."""
    database = Database(fresh_database(migrated, tmp_path_factory.mktemp("templates")))
    async with receiving(database, samples=samples_for_the_web(Policy())) as receiver:
        yield receiver
    await database.close()


async def test_c15_the_page_names_every_template_in_every_language_under_its_topic(site: Receiver) -> None:
    html = (await get(site, "/templates")).body.decode()
    assert sorted(re.findall(r'<a href="/templates/([^/"]+)/([^/"]+)">\1</a>', html)) == sorted(LETTERS)
    assert ("dunning.d0", "de") in LETTERS
    sections = re.split(r'<h2 id="(\w+)">', html)[1:]
    for topic, section in zip(sections[::2], sections[1::2], strict=True):
        keys = set(re.findall(r'<a href="/templates/([^/"]+)/', section))
        assert {letters.topic_of(key) for key in keys} == {topic}
    assert {*TOPICS, "billing", "staff"} == set(sections[::2])


@pytest.mark.parametrize(("key", "locale"), [("dunning.d0", "de"), ("usage.discount", "en"), ("renewal.prep", "en")])
async def test_c15_a_template_is_shown_as_mail_and_text(site: Receiver, key: str, locale: str) -> None:
    html = (await get(site, f"/templates/{key}/{locale}")).body.decode()
    assert letters.version_of(key, locale) in html and "{{" not in html and "None" not in html
    mail = await get(site, f"/templates/{key}/{locale}/mail")
    is_mail = key != "renewal.prep"
    assert (mail.status, f'src="/templates/{key}/{locale}/mail"' in html) == (200 if is_mail else 404, is_mail)
    if is_mail:
        assert mail.headers["content-security-policy"] == MAIL_POLICY
        assert b"<h1" in mail.body


@pytest.mark.parametrize("path", ["no.such/en", "dunning.d0/fr", "..%2F..%2Fetc/passwd"])
async def test_a_template_that_is_not_there_is_not_found(site: Receiver, path: str) -> None:
    assert (await get(site, f"/templates/{path}")).status == 404
