"""How to reach Temporal, as the settings say: address, namespace, API key, TLS with or without a client certificate.

Names and meaning are those of the `temporal` command and of every SDK (`temporalio.envconfig`). Its TOML profiles are
not read: .env is the one place, and a profile on somebody's laptop must not point a worker that moves money elsewhere.
"""

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from workers.settings import Settings

LOCAL: Final = "127.0.0.1:7233"
CERT, KEY, CA = "TEMPORAL_TLS_CLIENT_CERT_PATH", "TEMPORAL_TLS_CLIENT_KEY_PATH", "TEMPORAL_TLS_SERVER_CA_CERT_PATH"


class BadTemporalTls(RuntimeError):
    """The TLS settings for Temporal do not go together, or a file is not what it should be."""


def wants_tls(settings: "Settings") -> bool:
    """Whether TLS is spoken: as TEMPORAL_TLS says, else where there is an API key, a certificate or a server name."""
    if settings.temporal_tls is not None:
        return settings.temporal_tls
    return bool(settings.temporal_api_key.get_secret_value() or _about_tls(settings))


def connect_config(settings: "Settings") -> dict[str, Any]:
    """The arguments of `Client.connect`. Certificates are read now: after a rotation processes are restarted.

    Raises:
        BadTemporalTls: see `tls_problems`.
    """
    from temporalio.envconfig import ClientConfigProfile, ClientConfigTLS

    problems = tls_problems(settings)
    if problems:
        raise BadTemporalTls("; ".join(problems))
    on = wants_tls(settings)
    profile = ClientConfigProfile(
        address=settings.temporal_address or LOCAL,
        namespace=settings.temporal_namespace,
        api_key=settings.temporal_api_key.get_secret_value() or None,
        tls=ClientConfigTLS(
            disabled=not on,
            server_name=settings.temporal_tls_server_name or None,
            server_root_ca_cert=settings.temporal_tls_server_ca_cert_path,
            client_cert=settings.temporal_tls_client_cert_path,
            client_private_key=settings.temporal_tls_client_key_path,
        ),
    )
    return {**profile.to_client_connect_config()}


def tls_problems(settings: "Settings") -> list[str]:
    """What is wrong with how Temporal is to be reached, each with what to do about it."""
    cert, key = settings.temporal_tls_client_cert_path, settings.temporal_tls_client_key_path
    ca = settings.temporal_tls_server_ca_cert_path
    if settings.temporal_tls is False and _about_tls(settings):
        return [f"TEMPORAL_TLS is false, but {_about_tls(settings)[0]} is set: leave one of them out"]
    found = [problem for name, path in ((CERT, cert), (KEY, key), (CA, ca)) if (problem := _unreadable(name, path))]
    if cert and not key:
        found.append(f"{CERT} is set, but {KEY} is not: a certificate is shown with its private key")
    if key and not cert:
        found.append(f"{KEY} is set, but {CERT} is not: name the certificate that belongs to the key")
    if found:
        return found
    if cert and key:
        try:
            # Without a password it would ask for one on the terminal.
            ssl.create_default_context().load_cert_chain(cert, key, password="")
        except (ssl.SSLError, ValueError):
            found.append(f"{CERT} and {KEY} are not a certificate and its own unencrypted private key in PEM")
    if ca:
        try:
            ssl.create_default_context(cafile=str(ca))
        except (ssl.SSLError, ValueError):
            found.append(f"{CA} holds no certificate in PEM")
    return found


def _about_tls(settings: "Settings") -> list[str]:
    """The names of the settings that mean nothing without TLS and are set."""
    said = {
        CERT: settings.temporal_tls_client_cert_path,
        KEY: settings.temporal_tls_client_key_path,
        CA: settings.temporal_tls_server_ca_cert_path,
        "TEMPORAL_TLS_SERVER_NAME": settings.temporal_tls_server_name,
    }
    return [name for name, value in said.items() if value]


def _unreadable(name: str, path: Path | None) -> str:
    if path is None:
        return ""
    try:
        path.read_bytes()
    except OSError as error:
        return f"{name}: {path} cannot be read ({type(error).__name__})"
    return ""
