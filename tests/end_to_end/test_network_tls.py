"""TLS from end to end: who is trusted, and what is said of one who is not."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import grpc
import httpx
import pytest
import trustme

from harness.amounts import long_only
from harness.connect_proxy import ConnectProxy
from harness.fault_front import GrpcFront, InfoFront
from harness.quick_daemon import QuickDaemon
from harness.stack import Host, Reader, ServerProcess, eventually

LOG = """
    import kelt, sys
    run = kelt.init("p", id=sys.argv[1])
    for i in range(50):
        run.log({"i": i})
    run.finish()
"""
ROWS = [{"step": i, "i": i} for i in range(50)]


class Authority:
    """Makes certificates, as files."""

    def __init__(self, folder):
        self.folder = folder
        self.made = 0
        self.ca = trustme.CA()
        self.file = folder / f"ca-{id(self)}.pem"
        self.ca.cert_pem.write_to_path(self.file)

    def certificate(self, *names, **times):
        self.made += 1
        issued = self.ca.issue_cert(*(names or ("localhost", "127.0.0.1")), **times)
        certificate, key = (self.folder / f"{id(self)}-{self.made}.{x}" for x in ("crt", "key"))
        certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(key)
        return ["--tls-cert", str(certificate), "--tls-key", str(key)]


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


class TlsServer(ServerProcess):
    @property
    def url(self):
        return f"https://localhost:{self.facts['http_port']}"


class TlsReader(Reader):
    def __init__(self, url, authority):
        super().__init__(url)
        self.context = ssl.create_default_context(cafile=authority.file)

    def get(self, path, **params):
        response = httpx.get(
            f"{self.url}/api/v1{path}", params=params, timeout=60, verify=self.context
        )
        assert response.status_code == 200, response.text
        return json.loads(response.text)


@contextlib.contextmanager
def stack(folder, authority, options, **environ):
    server = TlsServer(folder / "server", options=options).start()
    host = Host(folder / "state", server.url)
    daemon = QuickDaemon(host.state_dir, environ=host.environment | environ).start()
    try:
        yield server, host, TlsReader(server.url, authority)
    finally:
        daemon.stop()
        host.close()
        server.stop()


def test_with_the_right_authority_everything_works(tmp_path, authority):
    with stack(tmp_path, authority, authority.certificate()) as (server, host, reader):
        assert server.facts["url"].startswith("https://")
        trust = {"KELT_CA_FILE": str(authority.file)}
        _, errors = host.run(LOG, "trusted", **trust)
        assert "synced=yes" in errors
        assert reader.history("trusted") == ROWS
        out, _ = host.run(
            "import kelt; print(len(list(kelt.Api().run('p/trusted').scan_history())))", **trust
        )
        assert out.strip() == "50"
        out, _ = host.run(
            "import kelt.cli.main as m, sys; sys.exit(m.run(['runs', 'ls', '--json']))", **trust
        )
        assert "trusted" in out
        # Without the file, the reader is told what to do.
        out, _ = host.run(
            "import kelt\ntry: kelt.Api().projects()\nexcept Exception as e: print(e)"
        )
        assert "KELT_CA_FILE" in out


def unreachable(host, *words):
    def look():
        out, _ = host.kelt("status", "--json")
        found = [u for u in json.loads(out)["upstreams"] if all(w in u["reason"] for w in words)]
        return found or None

    (upstream,) = eventually(look)
    assert upstream["state"] == "unreachable"


def test_an_unknown_authority_is_told_and_trusted_once_it_is_named(tmp_path, authority):
    # None of these switches verification off.
    environ = {"PYTHONHTTPSVERIFY": "0", "CURL_CA_BUNDLE": "", "REQUESTS_CA_BUNDLE": os.devnull}
    with stack(tmp_path, authority, authority.certificate(), **environ) as (_, host, reader):
        _, errors = host.run(LOG, "waits", **environ)
        assert "not trusted" in errors
        unreachable(host, "not trusted", "KELT_CA_FILE")
        host.run(LOG, "knows", KELT_CA_FILE=str(authority.file))
        assert eventually(lambda: (len(r := reader.history("waits")) == 50 and r) or None) == ROWS


YESTERDAY = dt.datetime.now(dt.timezone.utc) - dt.timedelta(days=1)


@pytest.mark.parametrize(
    ("names", "times", "words"),
    [
        (("localhost",), {"not_before": YESTERDAY, "not_after": YESTERDAY + dt.timedelta(hours=1)}, ("expired", "renew")),
        pytest.param(("elsewhere.example",), {}, ("is not for localhost", "KELT_UPSTREAM"), marks=long_only),
    ],
    ids=["expired", "another name"],
)  # fmt: skip
def test_a_certificate_that_is_mended_on_the_server_is_enough(
    tmp_path, authority, names, times, words
):
    bad = authority.certificate(*names, **times)
    with stack(tmp_path, authority, bad) as (server, host, reader):
        trust = {"KELT_CA_FILE": str(authority.file)}
        host.run(LOG, "waits", **trust)
        unreachable(host, *words)
        server.stop()
        server.options = authority.certificate()
        server.start()
        assert eventually(lambda: (len(r := reader.history("waits")) == 50 and r) or None) == ROWS


def test_a_ca_file_that_cannot_be_used_is_told_and_read_again(tmp_path, authority):
    with stack(tmp_path, authority, authority.certificate()) as (_, host, reader):
        ca_file = tmp_path / "later.pem"
        trust = {"KELT_CA_FILE": str(ca_file)}
        host.run(LOG, "waits", **trust)
        unreachable(host, "later.pem", "No such file", "KELT_CA_FILE")
        ca_file.write_text("nothing of use")
        unreachable(host, "later.pem", "holds no certificate")
        ca_file.write_bytes(authority.file.read_bytes())
        assert eventually(lambda: (len(r := reader.history("waits")) == 50 and r) or None) == ROWS


def test_the_grpc_port_is_held_to_the_same_authority(tmp_path, authority):
    """HTTPS is right, and another answers where the rows would go: they are not sent there."""
    plain = ServerProcess(tmp_path / "server").start()
    other = Authority(tmp_path)
    _, crt, _, key = other.certificate()
    pair = (Path(key).read_bytes(), Path(crt).read_bytes())
    credentials = grpc.ssl_server_credentials([pair])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.certificate()[1::2])
    with (
        GrpcFront(target=f"127.0.0.1:{plain.facts['grpc_port']}", credentials=credentials) as front,
        InfoFront(source=plain.url, grpc_port=front.port, tls=context) as info,
    ):
        host = Host(tmp_path / "state", f"https://localhost:{info.port}")
        trust = {"KELT_CA_FILE": str(authority.file)}
        daemon = QuickDaemon(host.state_dir, environ=host.environment, call_deadline_s=1.0).start()
        try:
            host.run(LOG, "kept", KELT_API_KEY="a-key", **trust)
            unreachable(host, "does not answer")
            assert front.calls["Hello"] == 0
        finally:
            daemon.stop()
            host.close()
            plain.stop()


def test_through_a_proxy_the_server_is_held_to_its_name_and_nobody_between_reads(
    tmp_path, authority
):
    options = authority.certificate("kelt.invalid", "localhost")
    with ConnectProxy() as proxy:
        environ = {"HTTPS_PROXY": f"http://{proxy.address}"}
        with stack(tmp_path, authority, options, **environ) as (server, host, reader):
            host.upstream = f"https://kelt.invalid:{server.facts['http_port']}"
            host.run(LOG, "through", KELT_CA_FILE=str(authority.file), **environ)
            assert reader.history("through") == ROWS
            ports = (server.facts["http_port"], server.facts["grpc_port"])
            assert {f"CONNECT kelt.invalid:{port}" for port in ports} == set(proxy.asked)


def test_old_versions_of_tls_are_refused_on_both_ports(tmp_path, authority):
    server = TlsServer(tmp_path, options=authority.certificate()).start()
    ports = (server.facts["http_port"], server.facts["grpc_port"])
    try:
        for port in ports:
            assert greet(port, authority, ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
            with pytest.raises(ssl.SSLError), pytest.warns(DeprecationWarning, match="TLSv1_1"):
                greet(port, authority, ssl.TLSVersion.TLSv1_1)
    finally:
        server.stop()


def greet(port, authority, version):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(authority.file)
    context.set_ciphers("DEFAULT@SECLEVEL=0")  # so that it is the server that refuses
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", port)) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as wrapped,
    ):
        return wrapped.version()


@pytest.mark.parametrize(
    "flags",
    [pytest.param(["--tls-cert", "x"], marks=long_only), ["--tls-cert", "x", "--tls-key", "y"]],
)
def test_a_certificate_that_cannot_be_used_is_one_sentence(tmp_path, flags):
    command = [sys.executable, "-m", "kelt_server", "--dir", str(tmp_path), "--port", "0", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in {1, 2}
    assert done.stderr.count("\n") == 1
    assert "--tls-key" in done.stderr or "cannot be used" in done.stderr
