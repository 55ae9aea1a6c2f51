"""Mutual TLS with Temporal: the client certificate is shown to the server; what does not fit is said in a sentence."""

import asyncio
import contextlib
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest

from tests.workers.test_cli import holdfast
from workers.connect import connect
from workers.settings import Settings
from workers.temporal_process import Server
from workers.temporal_tls import connect_config, wants_tls

NAME = "temporal.test"


class Authority:
    """A certificate authority of our own, in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Our authority")])
        self.path = folder / "ca.pem"
        certificate = self._signed("Our authority", self._key, authority=True)
        self.path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def _signed(self, name: str, key: ec.EllipticCurvePrivateKey, *, authority: bool = False) -> x509.Certificate:
        now = datetime.now(UTC)
        names = x509.SubjectAlternativeName([x509.DNSName(NAME), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        return (builder if authority else builder.add_extension(names, critical=False)).sign(self._key, hashes.SHA256())

    def issue(self, name: str) -> tuple[Path, Path]:
        """The files of a certificate for `name` and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        cert_path, key_path = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        cert_path.write_bytes(self._signed(name, key).public_bytes(serialization.Encoding.PEM))
        plain = serialization.NoEncryption()
        key_path.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain),
        )
        return cert_path, key_path


@dataclass
class Door:
    """A listener that lets only those through whose certificate is the authority's."""

    authority: Authority
    context: ssl.SSLContext

    def settings(self, **more: Any) -> Settings:
        """What a client says that trusts the authority."""
        said = {"temporal_tls_server_ca_cert_path": self.authority.path, "temporal_tls_server_name": NAME, **more}
        return Settings(_env_file=None, **said)


@pytest.fixture
def door(tmp_path: Path) -> Door:
    authority = Authority(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.path))
    context.load_cert_chain(*authority.issue("server"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(["h2"])
    return Door(authority, context)


@asynccontextmanager
async def in_front_of(address: str, context: ssl.SSLContext) -> AsyncIterator[tuple[str, list[str]]]:
    """A listener with TLS before a plain server: its address, and the common names of who came through."""
    host, _, port = address.rpartition(":")
    names: list[str] = []
    carrying: set[asyncio.Task[None]] = set()

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):
            while chunk := await reader.read(65536):
                writer.write(chunk)
                await writer.drain()
        writer.close()

    async def come(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peercert")
        names.append(dict(pair for part in peer["subject"] for pair in part)["commonName"])
        inner_reader, inner_writer = await asyncio.open_connection(host, int(port))
        for there in (pipe(reader, inner_writer), pipe(inner_reader, writer)):
            carrying.add(asyncio.create_task(there))

    server = await asyncio.start_server(come, "127.0.0.1", 0, ssl=context)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", names
    finally:
        server.close()
        for each in carrying:
            each.cancel()
        await asyncio.gather(*carrying)


async def test_the_client_certificate_opens_a_server_that_asks_for_one(door: Door, temporal: Server) -> None:
    cert, key = door.authority.issue("worker-1")
    async with in_front_of(temporal.address, door.context) as (address, names):
        client = await connect(
            door.settings(
                temporal_address=address, temporal_tls_client_cert_path=cert, temporal_tls_client_key_path=key
            )
        )
        found = await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace="default"))
    assert found.namespace_info.name == "default"
    assert set(names) == {"worker-1"}


async def test_without_one_the_server_hangs_up(door: Door) -> None:
    def greet(listener: socket.socket) -> str:
        connection, _ = listener.accept()
        with connection:
            try:
                door.context.wrap_socket(connection, server_side=True).close()
            except ssl.SSLError as error:
                return str(error.reason)
        return "came in"

    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        knocking = asyncio.create_task(connect(door.settings(temporal_address=address)))
        assert await asyncio.to_thread(greet, listener) == "PEER_DID_NOT_RETURN_A_CERTIFICATE"
        knocking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await knocking


def test_tls_is_spoken_where_something_asks_for_it_and_not_else() -> None:
    def on(**said: Any) -> bool:
        return wants_tls(Settings(_env_file=None, **said))

    assert [on(), on(temporal_tls=""), on(temporal_tls="true"), on(temporal_tls="false")] == [False, False, True, False]
    assert on(temporal_api_key="key") and on(temporal_tls_server_name=NAME)
    assert not on(temporal_api_key="key", temporal_tls=False), "a key over a private network may be meant"


def test_api_key_namespace_and_address_reach_the_client() -> None:
    said: dict[str, Any] = {
        "temporal_address": "ns.acct.tmprl.cloud:7233",
        "temporal_namespace": "ns.acct",
        "temporal_api_key": "key",
    }
    config = connect_config(Settings(_env_file=None, **said))
    tls = config.pop("tls")
    assert config == {"target_host": "ns.acct.tmprl.cloud:7233", "namespace": "ns.acct", "api_key": "key"}
    assert tls.client_cert is None and tls.server_root_ca_cert is None
    plain = connect_config(Settings(_env_file=None))
    assert plain == {"target_host": "127.0.0.1:7233", "namespace": "default", "tls": False}


CERT, KEY, CA = "TEMPORAL_TLS_CLIENT_CERT_PATH", "TEMPORAL_TLS_CLIENT_KEY_PATH", "TEMPORAL_TLS_SERVER_CA_CERT_PATH"


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({CERT: "cert"}, f"{CERT} is set, but {KEY} is not: a certificate is shown with its private key"),
        ({KEY: "key"}, f"{KEY} is set, but {CERT} is not: name the certificate that belongs to the key"),
        ({CERT: "cert", KEY: "/nowhere"}, f"{KEY}: /nowhere cannot be read (FileNotFoundError)"),
        (
            {CERT: "cert", KEY: "other key"},
            f"{CERT} and {KEY} are not a certificate and its own unencrypted private key in PEM",
        ),
        ({CA: "key"}, f"{CA} holds no certificate in PEM"),
        ({"TEMPORAL_TLS": "false", CA: "cert"}, f"TEMPORAL_TLS is false, but {CA} is set: leave one of them out"),
    ],
)
async def test_what_does_not_go_together_is_said_before_anything_is_dialled(
    tmp_path: Path, said: dict[str, str], sentence: str
) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.issue("worker-1")
    files = {"cert": str(cert), "key": str(key), "other key": str(authority.issue("worker-2")[1])}
    env = {name: files.get(value, value) for name, value in said.items()}
    assert await holdfast(tmp_path, "cases", "pause", "payment-failure/in_1", **env) == (
        1,
        "",
        f"holdfast: {sentence}\n",
    )
    lower = {name.lower(): value for name, value in env.items()}
    assert sentence in Settings(_env_file=None, **lower).problems()  # type: ignore[arg-type]
