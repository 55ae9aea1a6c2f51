"""docs/facts.md says what is: its curl example is taken, its columns and kinds of facts are those there are."""

import asyncio
import os
import re
import shutil
from pathlib import Path

import pytest

from models.learning import TOLD
from models.tables import InboxEvent
from tests.web.senders import EVENTS_SECRET, OLDER_EVENTS_SECRET, Door
from workers.importing import KINDS

PAGE = (Path(__file__).parent.parent.parent / "docs" / "facts.md").read_text(encoding="utf-8")


@pytest.mark.skipif(not all(map(shutil.which, ("curl", "openssl"))), reason="curl or openssl is not installed")
async def test_t1_19_the_curl_example_is_signed_as_it_should_be(sender: Door) -> None:
    (script,) = [each for each in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) if "webhook-signature" in each]
    process = await asyncio.create_subprocess_exec(
        "sh",
        "-c",
        script.replace("127.0.0.1:8080", f"127.0.0.1:{sender.receiver.port}"),
        env={"PATH": os.environ["PATH"], "EVENTS_SECRETS": f"{EVENTS_SECRET},{OLDER_EVENTS_SECRET}"},
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert out == b'{"received":true,"state":"pending","reason":""}'
    assert [(row.kind, row.account_id) for row in await sender.rows(InboxEvent)] == [("user.signed_up", "cus_123")]


def test_t1_19_every_column_is_in_the_table() -> None:
    said = dict(re.findall(r"^\| (\w+) \| (\*\*.*) \|$", PAGE, re.MULTILINE))
    assert said.keys() == KINDS.keys()
    for name, columns in said.items():
        found = re.sub(r"\(.*?\)|\*", "", columns).replace(" and ", ", ")
        assert [each.strip() for each in found.split(",")] == list(KINDS[name].row.model_fields)
        assert re.findall(r"\*\*(\w+)\*\*", columns) == list(KINDS[name].needs)


def test_t1_19_every_fact_that_our_tables_take_is_in_the_table() -> None:
    table = PAGE[PAGE.index("### Facts") : PAGE.index("### Use")]
    assert set(re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)) >= {"`user.signed_up`"}
    kinds = {
        kind for cell in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for kind in re.findall(r"`(.*?)`", cell)
    }
    assert kinds == TOLD
