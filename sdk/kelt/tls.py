"""Whom to trust on `https://`: the system's certificate authorities, and a file beside them.

The same for HTTP (an SSL context) and for gRPC (PEM), so that both halves of an upstream are
trusted or refused together. Nothing here switches verification off.
"""

from __future__ import annotations

import ssl
from pathlib import Path

import certifi

from kelt.errors import SettingsError


def ssl_context(ca_file: Path | None) -> ssl.SSLContext:
    """For HTTP: verifies certificate and name, from TLS 1.2 on.

    Raises:
        SettingsError: the file cannot be used.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cafile=_system_file())
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=ca_file)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise _unusable(ca_file, error) from error
    return context


def root_certificates(ca_file: Path | None) -> bytes:
    """For gRPC: the same authorities as PEM.

    Raises:
        SettingsError: the file cannot be used.
    """
    found = Path(_system_file()).read_bytes()
    if ca_file is None:
        return found
    try:
        return found + b"\n" + ca_file.read_bytes()
    except OSError as error:
        raise _unusable(ca_file, error) from error


def _system_file() -> str:
    """As the system says (or SSL_CERT_FILE); Mozilla's list where it has none."""
    return ssl.get_default_verify_paths().cafile or certifi.where()


def _unusable(ca_file: Path, error: Exception) -> SettingsError:
    reason = "it holds no certificate"
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError):
        reason = error.strerror or str(error)
    return SettingsError(
        f"The CA file {ca_file} cannot be used ({reason}); name a file of PEM certificates in "
        "KELT_CA_FILE."
    )
