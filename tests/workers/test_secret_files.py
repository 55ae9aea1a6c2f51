"""Every secret may stand in a file: NAME_FILE beside NAME."""

from pathlib import Path

import pytest

from tests.workers.test_cli import GOOD, holdfast
from workers.demo import _settings, environment_of
from workers.secret_files import BadSecretFile, secrets_of
from workers.settings import Settings
from workers.temporal_process import Server, never

ALL = {
    "database_password",
    "stripe_api_key",
    "stripe_webhook_secrets",
    "events_secrets",
    "segment_secret",
    "api_tokens",
    "sendgrid_api_key",
    "product_webhook_secret",
    "link_secret",
    "holdfast_payload_keys",
    "holdfast_codec_secret",
    "holdfast_staff_password",
    "temporal_api_key",
    "attio_api_key",
    "hubspot_access_token",
}


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(f"{name}_FILE".upper(), raising=False)


def test_these_are_the_secrets_and_whatever_else_sounds_like_one_is_none() -> None:
    assert set(secrets_of(Settings)) == ALL
    others = [name for name in Settings.model_fields if name not in ALL]
    assert [name for name in others if any(word in name for word in ("secret", "password", "token", "api_key"))] == []


@pytest.mark.parametrize("name", sorted(ALL))
def test_a_secret_is_read_from_its_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / name).write_text(f" the {name}\n")
    monkeypatch.setenv(f"{name}_FILE".upper(), str(tmp_path / name))
    read = Settings(_env_file=None)
    assert getattr(read, name).get_secret_value() == f"the {name}"
    assert f"the {name}" not in repr(read)
    assert environment_of(read)[f"{name}_FILE".upper()] == "", "a child has it once"


def test_the_file_may_be_named_in_dot_env_and_an_argument_goes_before_it(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from the file")
    (tmp_path / ".env").write_text(f"LINK_SECRET_FILE={tmp_path}/secret\nLINK_SECRET=\n")
    assert Settings(_env_file=tmp_path / ".env").link_secret.get_secret_value() == "from the file"
    assert Settings(_env_file=tmp_path / ".env", link_secret="said").link_secret.get_secret_value() == "said"


def test_a_file_may_hold_several_one_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secrets").write_text("whsec_new1\nwhsec_old1\n")
    monkeypatch.setenv("STRIPE_WEBHOOK_SECRETS_FILE", str(tmp_path / "secrets"))
    assert Settings(_env_file=None).webhook_secrets == ("whsec_new1", "whsec_old1")


@pytest.mark.parametrize(
    ("content", "direct", "sentence"),
    [
        (b"  \n", "", "LINK_SECRET_FILE: {path} is empty"),
        (b"\xff", "", "LINK_SECRET_FILE: {path} cannot be read (UnicodeDecodeError)"),
        (None, "", "LINK_SECRET_FILE: {path} cannot be read (FileNotFoundError)"),
        (b"x", "y", "LINK_SECRET and LINK_SECRET_FILE are both set: leave one empty"),
    ],
)
def test_a_bad_file_is_refused_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, direct: str, sentence: str
) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("LINK_SECRET", direct)
    monkeypatch.setenv("LINK_SECRET_FILE", str(path))
    with pytest.raises(BadSecretFile) as refused:
        Settings(_env_file=None)
    assert str(refused.value) == sentence.format(path=path)


async def test_every_bad_file_is_named_by_the_command(tmp_path: Path) -> None:
    more = {"STRIPE_API_KEY": "", "STRIPE_API_KEY_FILE": "/nowhere/key", "SENDGRID_API_KEY_FILE": "/nowhere/mail"}
    code, out, err = await holdfast(tmp_path, "relay", **{**GOOD, **more})
    assert (code, out) == (1, "")
    assert err == (
        "holdfast: STRIPE_API_KEY_FILE: /nowhere/key cannot be read (FileNotFoundError); "
        "SENDGRID_API_KEY_FILE: /nowhere/mail cannot be read (FileNotFoundError)\n"
    )


def test_the_databases_password_comes_to_its_url() -> None:
    url = "postgresql://holdfast@db:5432/holdfast"
    assert Settings(_env_file=None, database_url=url).dsn == url
    read = Settings(_env_file=None, database_url=url, database_password="p@ss/word")
    assert read.dsn == "postgresql://holdfast:p%40ss%2Fword@db:5432/holdfast"
    assert read.database_url == url


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("postgresql://me:mine@db/x", "DATABASE_URL and DATABASE_PASSWORD both hold a password: leave one out"),
        ("sqlite:///x.db", "DATABASE_PASSWORD is set, but DATABASE_URL names SQLite, which has no passwords"),
        ("oops", "DATABASE_URL 'oops' is not a URL; for example sqlite:///.holdfast/holdfast.db"),
    ],
)
def test_a_password_that_does_not_fit_its_url_is_refused(url: str, sentence: str) -> None:
    assert sentence in Settings(_env_file=None, database_url=url, database_password="secret").problems()


def test_the_demo_takes_nothing_of_how_the_real_one_is_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("secret")
    real = {
        "DATABASE_PASSWORD_FILE": str(tmp_path / "key"),
        "TEMPORAL_API_KEY_FILE": str(tmp_path / "key"),
        "TEMPORAL_TLS_CLIENT_CERT_PATH": "/nowhere",
        "TEMPORAL_TLS_SERVER_NAME": "temporal.example.com",
        "METRICS_PORT": "9464",
    }
    for name, value in real.items():
        monkeypatch.setenv(name, value)
    server = Server("127.0.0.1:7233", None, None, can_skip_time=True, pid=None, died=never)
    said = environment_of(_settings(server, "http://127.0.0.1:1", ""))
    assert {name: said[name] for name in real} == {**dict.fromkeys(real, ""), "METRICS_PORT": "0"}
    for name in said:
        monkeypatch.setenv(name, said[name])
    assert Settings(_env_file=None).problems() == [], "as a child of the demo reads it"
