"""Names that are not known, and proxies that know them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess

import pytest

from harness.amounts import amount
from harness.connect_proxy import ConnectProxy
from harness.quick_daemon import QuickDaemon
from harness.stack import Host, Reader, ServerProcess, eventually

#: Nobody but the proxy knows where this is.
NAME = "kelt.invalid"
LOG = """
    import kelt, sys
    run = kelt.init("p", id=sys.argv[1])
    for i in range(50):
        run.log({"i": i})
    run.finish()
"""
ROWS = [{"step": i, "i": i} for i in range(50)]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = ServerProcess(tmp_path_factory.mktemp("server")).start()
    yield server
    server.stop()


@pytest.fixture
def reader(server):
    return Reader(server.url)


@contextlib.contextmanager
def host_with(folder, server, *, name=NAME, prefix=(), **environ):
    host = Host(folder / "state", f"http://{name}:{server.facts['http_port']}")
    daemon = QuickDaemon(host.state_dir, environ=host.environment | environ)
    daemon.start(prefix=prefix)
    try:
        yield host, daemon
    finally:
        daemon.stop()
        host.close()


def arrives(reader, run_id):
    assert eventually(lambda: (len(r := reader.history(run_id)) == 50 and r) or None) == ROWS


def reason(host, *words):
    def look():
        out, _ = host.kelt("status", "--json")
        found = [u for u in json.loads(out)["upstreams"] if all(w in u["reason"] for w in words)]
        return found or None

    return eventually(look)[0]


@pytest.mark.parametrize(
    "variable", amount(["http_proxy"], long=["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
)
def test_both_ways_go_through_the_proxy_of_the_environment(tmp_path, server, reader, variable):
    with ConnectProxy() as proxy:
        with host_with(tmp_path, server, **{variable: f"http://{proxy.address}"}) as (host, _):
            host.run(LOG, f"by-{variable}")
            arrives(reader, f"by-{variable}")
        http, grpc = server.facts["http_port"], server.facts["grpc_port"]
        assert f"GET http://{NAME}:{http}/api/v1/info" in proxy.asked
        assert f"CONNECT {NAME}:{grpc}" in proxy.asked


def test_the_setting_beats_the_environment_and_its_password_is_shown_nowhere(
    tmp_path, server, reader
):
    # user:s3cret-pass in base64
    with ConnectProxy(authorization="Basic dXNlcjpzM2NyZXQtcGFzcw==") as proxy:
        environ = {"HTTP_PROXY": "http://127.0.0.1:9"}
        with host_with(tmp_path, server, **environ) as (host, _daemon):
            setting = f"http://user:s3cret-pass@{proxy.address}"
            host.run(LOG, "by-setting", KELT_PROXY=setting, **environ)
            arrives(reader, "by-setting")
            # The server was asked by a name that only the proxy knows, and minds it.
            _, err = host.run(
                "import kelt; kelt.Api().run('p/by-setting')", code=1, KELT_PROXY=setting
            )
            assert "wants no key and listens on this machine alone" in err
        assert proxy.asked
        assert not proxy.refused
    logs = "".join(f.read_text() for f in (host.state_dir / "logs").iterdir())
    assert "s3cret-pass" not in logs


def test_no_proxy_is_honoured_and_an_unknown_name_is_told(tmp_path, server, reader):
    with ConnectProxy() as proxy:
        environ = {"HTTP_PROXY": f"http://{proxy.address}", "NO_PROXY": f"other,.{NAME}"}
        with host_with(tmp_path, server, **environ) as (host, _):
            host.run(LOG, "direct", KELT_FINISH_TIMEOUT_S="0.5", **environ)
            assert reason(host, NAME, "is not known", "KELT_UPSTREAM")["state"] == "unreachable"
    assert not proxy.asked


def test_to_this_machine_the_way_is_always_direct(tmp_path, server, reader):
    with ConnectProxy() as proxy:
        environ = {"HTTP_PROXY": f"http://{proxy.address}", "KELT_PROXY": f"http://{proxy.address}"}
        with host_with(tmp_path, server, name="127.0.0.1", **environ) as (host, _):
            host.run(LOG, "loopback", **environ)
            arrives(reader, "loopback")
    assert not proxy.asked


def can_have_its_own_mounts() -> bool:
    done = shutil.which("unshare") and subprocess.run(
        ["unshare", "-m", "mount", "--bind", os.devnull, "/etc/hosts"], capture_output=True,
        check=False,
    )  # fmt: skip
    return bool(done) and done.returncode == 0


@pytest.mark.skipif(not can_have_its_own_mounts(), reason="no mount namespaces here")
def test_a_name_that_becomes_known_is_enough(tmp_path, server, reader):
    """The daemon has a hosts file of its own, in which the name appears later."""
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n")
    script = 'mount --bind "$0" /etc/hosts && exec "$@"'
    prefix = ("unshare", "-m", "sh", "-c", script, str(hosts))
    with host_with(tmp_path, server, prefix=prefix) as (host, _):
        host.run(LOG, "late-name", KELT_FINISH_TIMEOUT_S="0.5")
        reason(host, NAME, "is not known")
        with hosts.open("a") as file:
            file.write(f"127.0.0.1 {NAME}\n")
        arrives(reader, "late-name")
