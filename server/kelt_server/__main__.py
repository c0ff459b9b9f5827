"""`python -m kelt_server`: reads flags and environment, runs a server, or changes its users.

Exit codes: 0 stopped as asked; 1 could not start (one sentence says why), or stopped at the second
signal; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import anyio

from kelt_server import __version__
from kelt_server.access import commands
from kelt_server.config import ServerConfig
from kelt_server.errors import KeltServerError, ServerUsageError, StartError
from kelt_server.logs import configure_logs
from kelt_server.server import serve

_PORT_MAX = 65535


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a server until it is told to stop, or one of the commands about its users."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        if given and given[0] in commands.COMMANDS:
            _change_accounts(given)
        else:
            _serve(given)
    except ServerUsageError as error:
        print(f"kelt server: {error}", file=sys.stderr)  # noqa: T201
        return 2
    except KeltServerError as error:
        print(f"kelt server: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _change_accounts(arguments: Sequence[str]) -> None:
    commands.run_command(
        arguments,
        parser=_Parser,
        folder=default_folder(os.environ),
        environment_note="KELT_SERVER_DIR",
        now=time.time(),
    )


def _serve(arguments: Sequence[str]) -> None:
    # Resolving runs makes objects by the million that hold no cycles; by default a quarter of the
    # time goes into looking for some.
    gc.set_threshold(50_000, 20, 100)
    config = read_config(arguments, os.environ)
    configure_logs()
    anyio.run(_run, config)


async def _run(config: ServerConfig) -> None:
    await serve(config)


def read_config(arguments: Sequence[str] | None, environment: Mapping[str, str]) -> ServerConfig:
    """Flags go before environment, environment before defaults.

    Raises:
        StartError: something does not fit.
    """
    flags = _parser().parse_args(arguments)
    grpc_port = flags.grpc_port
    if grpc_port is None:
        grpc_port = flags.port + 1 if flags.port else 0
    for name, port in (("--port", flags.port), ("--grpc-port", grpc_port)):
        if not 0 <= port <= _PORT_MAX:
            raise ServerUsageError(
                f"{name} {port} is no port; choose one from 0 (any free) to {_PORT_MAX}"
            )
    if (flags.tls_cert is None) != (flags.tls_key is None):
        raise ServerUsageError("--tls-cert and --tls-key belong together; give both, or neither")
    if flags.lease_s <= 0:
        raise ServerUsageError(f"--lease-s {flags.lease_s} is not above 0")
    if flags.files_bytes_max < 0:
        raise ServerUsageError(f"--files-bytes-max {flags.files_bytes_max} is below 0")
    return ServerConfig(
        folder=(flags.dir or default_folder(environment)).expanduser().absolute(),
        host=flags.host,
        http_port=flags.port,
        grpc_port=grpc_port,
        default_entity=flags.entity,
        lease_s=flags.lease_s,
        api_key=_api_key(flags.api_key_file, environment),
        ready_file=flags.ready_file,
        files_bytes_max=flags.files_bytes_max,
        tls_cert=flags.tls_cert,
        tls_key=flags.tls_key,
    )


def default_folder(environment: Mapping[str, str]) -> Path:
    """KELT_SERVER_DIR, else `kelt-server` in the XDG data folder."""
    if environment.get("KELT_SERVER_DIR"):
        return Path(environment["KELT_SERVER_DIR"])
    data = environment.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(data) / "kelt-server"


def _api_key(path: Path | None, environment: Mapping[str, str]) -> str:
    """Never from the command line, which every user of the host can read."""
    if path is None:
        return environment.get("KELT_SERVER_API_KEY", "").strip()
    try:
        key = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise StartError(
            f"the key file {path} cannot be read ({reason}); name one that can with --api-key-file"
        ) from error
    if not key:
        raise StartError(f"the key file {path} is empty; write the key into it")
    return key


def _port(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no port; choose one from 0 (any free) to {_PORT_MAX}"
        ) from None


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, without the whole usage before it."""

    def error(self, message: str) -> NoReturn:
        raise ServerUsageError(f"{message}. See `{self.prog} --help`.")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="kelt server",
        usage="kelt server [OPTIONS]\n       kelt server user|team|key --help",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Keeps runs in one folder and answers questions about them: to daemons, to\n"
        "W&B's clients and, with pages, to browsers. Ctrl-C ends it.",
    )
    add = parser.add_argument
    add("--version", action="version", version=f"kelt {__version__}")
    folder = "~/.local/share/kelt-server, or KELT_SERVER_DIR"
    add("--dir", type=Path, metavar="FOLDER", help=f"where runs are kept [{folder}]")
    add("--host", default="127.0.0.1", metavar="ADDRESS", help="where to listen [%(default)s]")
    add("--port", type=_port, default=8470, metavar="N", help="of HTTP; 0: any free [%(default)s]")
    add("--grpc-port", type=_port, metavar="N", help="of gRPC, for daemons [--port + 1]")
    add("--entity", default="local", metavar="NAME", help="of runs that name none [%(default)s]")
    add(
        "--lease-s",
        type=float,
        default=1800.0,
        metavar="SECONDS",
        help="silence after which a run shows as crashed [%(default)g]",
    )
    add(
        "--api-key-file",
        type=Path,
        metavar="FILE",
        help="has the key that all must show [KELT_SERVER_API_KEY]",
    )
    add(
        "--tls-cert",
        type=Path,
        metavar="FILE",
        help="certificate chain (PEM): HTTPS, gRPC over TLS",
    )
    add("--tls-key", type=Path, metavar="FILE", help="its private key (PEM)")
    add(
        "--files-bytes-max",
        type=int,
        default=ServerConfig.files_bytes_max,
        metavar="BYTES",
        help="what files and artifacts of runs may take on the disk, all together [%(default)d]",
    )
    add("--ready-file", type=Path, metavar="FILE", help="written as JSON once the server listens")
    return parser


if __name__ == "__main__":
    sys.exit(main())
