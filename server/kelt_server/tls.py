"""The server's certificate, for HTTP and for gRPC, from TLS 1.2 on."""

from __future__ import annotations

import ssl

import grpc

from kelt_server.config import ServerConfig
from kelt_server.errors import StartError


def http_context(config: ServerConfig) -> ssl.SSLContext | None:
    """For HTTP; None where it is plain.

    Raises:
        StartError: the files cannot be used.
    """
    if config.tls_cert is None or config.tls_key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(config.tls_cert, config.tls_key, password=_no_password)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise StartError(
            f"the certificate {config.tls_cert} with the key {config.tls_key} cannot be used "
            f"({_reason(error)}); both are PEM, and belong together"
        ) from error
    return context


def grpc_credentials(config: ServerConfig) -> grpc.ServerCredentials | None:
    """For gRPC; None where it is plain.

    Raises:
        StartError: the files cannot be used.
    """
    if http_context(config) is None or config.tls_cert is None or config.tls_key is None:
        return None
    pair = (config.tls_key.read_bytes(), config.tls_cert.read_bytes())
    return grpc.ssl_server_credentials([pair])


def _no_password() -> str:
    raise ValueError("the key has a password, which nobody is there to type")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or "it is not PEM"
    return getattr(error, "strerror", None) or str(error)
