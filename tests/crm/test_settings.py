"""`[crm]` of the policy file, the key in the settings, and `holdfast crm`."""

import ast
import json
from pathlib import Path
from typing import Any, cast

import pytest

from models.crm import DEAL_STAGES, CrmSettings, Lacking, Schema, lacking
from models.crm_rows import CrmRecord
from models.policy import PolicyError, PolicyFile
from models.tables import TaskRow
from simulator.attio_api import AttioApi
from tests.crm.parties import CASE, Party, deal
from tests.workers.test_cli import holdfast
from workers.crm_clients import crm_client
from workers.doctor_providers import the_crm_has_what_is_written_to_it
from workers.findings import Patient
from workers.settings import Settings

ROOT = Path(__file__).resolve().parent.parent.parent

WRONG: list[tuple[Any, str]] = [
    ("attio", "crm: must be a table, not 'attio'"),
    ({"provider": "salesforce"}, "crm.provider: Input should be '', 'attio' or 'hubspot'"),
    ({"provder": "attio"}, "crm.provder: Extra inputs are not permitted"),
    (
        {"provider": "attio", "deal": {"amount": "value"}},
        "crm.deal.amount: there is no such field; there are key, name, stage, value, renewal_date, contract_term, "
        "expansion_potential, owner",
    ),
    (
        {"provider": "hubspot", "note": {"key": ""}},
        "crm.note.key: must name the unique attribute that holds our key",
    ),
    (
        {"provider": "attio", "company": {"segment": "plan", "plan": "plan"}},
        "crm.company: 'plan' is given to two of our fields",
    ),
    ({"at_risk_health": 101}, "crm.at_risk_health: Input should be less than or equal to 100"),
]


@pytest.mark.parametrize(("crm", "said"), WRONG, ids=[said[:30] for _, said in WRONG])
def test_i1_what_is_wrong_with_the_map_is_said(crm: Any, said: str) -> None:
    with pytest.raises(PolicyError) as problem:
        PolicyFile({"crm": crm})
    assert str(problem.value) == f"policy: {said}"


def test_the_map_is_no_part_of_a_runs_policy_nor_of_its_version() -> None:
    with_crm = PolicyFile({"crm": {"provider": "attio"}})
    assert with_crm.default == PolicyFile().default
    assert with_crm.crm.provider == "attio"
    assert PolicyFile().crm.provider == ""


def test_i1_a_map_of_ones_own_replaces_the_default_and_leaves_out_what_is_empty() -> None:
    settings = CrmSettings.validated({"provider": "attio", "company": {"health_score": "score", "health_status": ""}})
    assert settings.fields("company") == {
        "key": "holdfast_account",
        "name": "name",
        "health_score": "score",
        "health_updated": "last_health_update",
    }


def test_p6_14_the_stages_we_map_are_those_that_the_renewal_playbook_uses() -> None:
    tree = ast.parse((ROOT / "workflows" / "renewal.py").read_text(encoding="utf-8"))
    named = {
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("self.deal", "self.move_deal")
        and isinstance(node.args[0], ast.Constant)
    }
    assert named | {"Contract Sent"} == set(DEAL_STAGES)


def test_i1_6_a_missing_stage_and_a_missing_list_are_said() -> None:
    there: dict[Any, Any] = {
        "company": dict.fromkeys(CrmSettings(provider="attio").fields("company").values(), True),
        "deal": dict.fromkeys(CrmSettings(provider="attio").fields("deal").values(), True),
    }
    settings = CrmSettings(provider="attio", at_risk_list="risky", stages={"Won": "Renewed"})
    _, found = lacking(settings, Schema(there, ("Lost", "Open"), ("at_risk_list",)), ("Won", "Lost"))
    assert found == Lacking(
        fatal=["there is no list 'risky' of companies; make it, or correct crm.at_risk_list"],
        left_out=["deal: there is no stage 'Renewed' for 'Won'; there are Lost, Open"],
    )


def test_without_a_key_the_start_is_refused_with_its_name(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('[crm]\nprovider = "hubspot"\n')
    said = (
        "HUBSPOT_ACCESS_TOKEN is not set, but the policy file names hubspot as the CRM: make a key there, put it into "
        ".env"
    )
    settings = Settings(holdfast_policy=policy, _env_file=None)
    assert said in settings.problems()
    with pytest.raises(RuntimeError, match=said[:30]):
        crm_client(settings, PolicyFile.read(policy).crm)
    assert crm_client(settings, CrmSettings()) is None
    keyed = Settings(holdfast_policy=policy, hubspot_access_token="pat-1", _env_file=None)
    assert said not in keyed.problems()


async def _command(party: Party, folder: Path, *words: str, key: str = AttioApi.token) -> tuple[int, str, str]:
    policy = folder / "policy.toml"
    policy.write_text('[crm]\nprovider = "attio"\nat_risk_list = "at_risk_customers"\n')
    return await holdfast(
        folder,
        *words,
        HOLDFAST_POLICY=str(policy),
        ATTIO_API_KEY=key,
        ATTIO_API_BASE=party.simulator.url,
        DATABASE_URL=party.database.engine.url.render_as_string(hide_password=False).replace("+aiosqlite", ""),
    )


async def test_i1_6_crm_check_says_what_is_missing(attio: Party, tmp_path: Path) -> None:
    del attio.attio.attributes["companies"]["health_status"]
    attio.attio.attributes["deals"]["holdfast_key"] = "text"
    code, out, _ = await _command(attio, tmp_path, "crm", "check")
    assert (code, out) == (
        1,
        "Nothing is written until this is mended: deal: the attribute 'holdfast_key' must hold unique values, for it "
        "holds our key.\ncompany: there is no attribute 'health_status'; health_status is left out. Make it, or map "
        "crm.company.health_status anew.\n",
    )
    attio.attio.reset()
    code, out, _ = await _command(attio, tmp_path, "crm", "check", "--json")
    assert (code, json.loads(out)) == (0, {"provider": "attio", "fatal": [], "left_out": []})
    code, _, err = await _command(attio, tmp_path, "crm", "check", key="wrong")
    assert code == 2
    assert "Attio cannot be asked: Attio answered 401 unauthorized: The access token is not valid." in err


async def test_i1_crm_again_tries_again_what_was_put_right(attio: Party, tmp_path: Path) -> None:
    attio.attio.stages.remove("Kickoff")
    await attio.do(deal("Kickoff"))
    await attio.in_time()
    code, out, _ = await _command(attio, tmp_path, "crm", "list", "--json")
    (waiting,) = json.loads(out)
    assert (code, waiting["key"], waiting["state"]) == (0, f"deal/{CASE}", "refused")
    attio.attio.stages.append("Kickoff")
    code, out, _ = await _command(attio, tmp_path, "crm", "again", f"deal/{CASE}")
    assert (code, out) == (0, "1 will be tried again within a minute.\n")
    await attio.in_time()
    assert (await attio.contents()).deals == [(CASE, "Kickoff")]
    assert [each.outcome for each in await attio.rows(TaskRow, "key")] == ["again"]
    assert {each.state for each in await attio.rows(CrmRecord, "key")} == {"done"}


async def test_the_doctor_looks_at_the_crm(attio: Party) -> None:
    async def findings(key: str, crm: dict[str, Any]) -> list[tuple[str, str]]:
        settings = Settings(attio_api_key=key, attio_api_base=attio.simulator.url, _env_file=None)
        patient = Patient(settings, PolicyFile({"crm": crm}), attio.database, cast(Any, None), None)
        return [(each.state, each.what) async for each in the_crm_has_what_is_written_to_it(patient)]

    own = "no CRM outside: tasks, deals and health are kept in our own tables"
    assert await findings("", {}) == [("well", own)]
    there = {"provider": "attio"}
    well = "Attio has everything that is written to it, and nothing waits for a person"
    assert await findings(AttioApi.token, there) == [("well", well)]
    refused = "Attio answered 401 unauthorized: The access token is not valid."
    assert await findings("wrong", there) == [("wrong", refused)]
    attio.attio.stages.remove("Kickoff")
    await attio.do(deal("Kickoff"))
    await attio.in_time()
    assert await findings(AttioApi.token, there) == [
        (
            "wrong",
            "Attio: deal: there is no stage 'Kickoff' for 'Kickoff'; there are Renewal Due, Terms, Negotiation, Final "
            "Terms, Contract Sent, Won, Lost",
        ),
        ("wrong", "1 records are not in Attio as they should be; a person is asked about each"),
    ]
    await attio.change(CrmRecord, "company/cus_1", state="in_doubt", tries=6, reason="Attio answered 500")
    said = await findings(AttioApi.token, there)
    assert ("wrong", "company/cus_1 was tried 6 times in vain: Attio answered 500") in said
