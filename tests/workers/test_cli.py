"""The command line as a user meets it: exit codes, sentences, JSON."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from models.database import Database
from models.tables import CaseRow, InboxEvent, wall

ROOT = Path(__file__).parent.parent.parent
GOOD = {
    "STRIPE_API_KEY": "sk_test_1234",
    "STRIPE_WEBHOOK_SECRETS": "whsec_1234",
    "LINK_SECRET": "0123456789abcdef",
}


async def holdfast(folder: Path, *arguments: str, **env: str) -> tuple[int, str, str]:
    """Run the command in an empty folder; exit code, standard output, standard error."""
    return await python(folder, "-m", "workers", *arguments, **env)


async def python(folder: Path, *arguments: str, **env: str) -> tuple[int, str, str]:
    """Run Python with nothing of ours in its environment but `env`; exit code, standard output, standard error."""
    clean = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "LANG")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        cwd=folder,
        env={**clean, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "140", **env},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"STRIPE_API_KEY": ""}, "STRIPE_API_KEY is not set: put your Stripe secret or restricted key into .env"),
        ({"STRIPE_API_KEY": "pk_test_1234"}, "STRIPE_API_KEY is malformed: it starts with sk_test_, sk_live_"),
        ({"STRIPE_WEBHOOK_SECRETS": ""}, "STRIPE_WEBHOOK_SECRETS is not set: copy the endpoint's signing secret"),
        ({"STRIPE_WEBHOOK_SECRETS": "whsec_1234,oops"}, "STRIPE_WEBHOOK_SECRETS is malformed: each secret starts"),
        ({"SENDGRID_API_KEY": "oops"}, "SENDGRID_API_KEY is malformed: it starts with SG."),
        ({"EVENTS_SECRETS": "whsec_c2hvcnQ="}, "EVENTS_SECRETS is malformed: each secret is whsec_ and base64 of 24"),
        ({"EVENTS_SECRETS": "plain-text-of-more-than-24-bytes"}, "EVENTS_SECRETS is malformed: each secret is whsec_"),
        ({"SEGMENT_SECRET": "short"}, "SEGMENT_SECRET must be 16 characters or more"),
        ({"API_TOKENS": "0123456789abcdef,short"}, "API_TOKENS is malformed: each token is 16 characters or more"),
        ({"LINK_SECRET": "short"}, "LINK_SECRET must be 16 characters or more"),
        ({"PUBLIC_URL": "example.com"}, "PUBLIC_URL must start with https://"),
        ({"PRODUCT_WEBHOOK_URL": "https://example.com"}, "PRODUCT_WEBHOOK_SECRET is not set"),
        ({"DATABASE_URL": "mysql://x"}, "DATABASE_URL names 'mysql'; Holdfast runs on sqlite and postgresql"),
        ({"HOLDFAST_PORT": "eighty"}, "HOLDFAST_PORT: Input should be a valid integer"),
    ],
)
async def test_up_refuses_a_bad_setting_with_a_sentence(tmp_path: Path, changed: dict[str, str], sentence: str) -> None:
    code, out, err = await holdfast(tmp_path, "up", **{**GOOD, **changed})
    assert (code, out) == (2, "")
    assert f"holdfast: {sentence}" in err
    assert len(err.splitlines()) == 1


async def test_up_names_everything_that_is_missing_at_once(tmp_path: Path) -> None:
    code, _, err = await holdfast(tmp_path, "up")
    assert code == 2
    assert [line.split()[1] for line in err.splitlines()] == ["STRIPE_API_KEY", "STRIPE_WEBHOOK_SECRETS", "LINK_SECRET"]


async def test_an_unknown_command_is_a_usage_error(tmp_path: Path) -> None:
    assert await holdfast(tmp_path, "nonsense") == (2, "", "holdfast: No such command 'nonsense'.\n")


async def test_a_database_without_tables_says_what_to_do(tmp_path: Path) -> None:
    code, _, err = await holdfast(tmp_path, "cases", "list")
    assert code == 1
    assert "`holdfast migrate`" in err
    assert (await holdfast(tmp_path, "migrate"))[0] == 0
    assert await holdfast(tmp_path, "cases", "list") == (0, "No case is open.\n", "")


async def test_cases_and_audit_speak_json_and_exit_honestly(tmp_path: Path) -> None:
    await holdfast(tmp_path, "migrate")
    assert json.loads((await holdfast(tmp_path, "audit", "--offline", "--json"))[1])["violations"] == []
    database = Database(f"sqlite:///{tmp_path}/.holdfast/holdfast.db")
    async with database.writing() as session:
        session.add(
            CaseRow(
                id="payment-failure/in_1",
                playbook="payment-failure",
                account_id="cus_1",
                subject="in_1",
                at_stake=2900,
                currency="usd",
                opened_at=wall(),
            )
        )
        session.add(
            InboxEvent(
                source="stripe", event_id="evt_1", type="x", occurred_at=wall(), body=b"{}", state="dead", reason="no"
            )
        )
    await database.close()
    code, out, _ = await holdfast(tmp_path, "cases", "list", "--json")
    assert code == 0
    assert [(row["case"], row["at_stake"]) for row in json.loads(out)] == [("payment-failure/in_1", "$29.00")]
    code, out, _ = await holdfast(tmp_path, "audit", "--offline", "--json")
    assert (code, json.loads(out)["violations"]) == (1, ["dead event: evt_1 (x): no"])
    code, _, err = await holdfast(tmp_path, "cases", "show", "nonsense")
    assert (code, err) == (1, "holdfast: there is no case 'nonsense'; `holdfast cases list --all` names them\n")
