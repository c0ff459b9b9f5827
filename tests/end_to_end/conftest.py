import pytest

from harness.stack import Host, Reader, ServerProcess


@pytest.fixture
def server(tmp_path):
    process = ServerProcess(tmp_path / "server")
    process.start()
    yield process
    process.stop()


@pytest.fixture
def host(tmp_path, server):
    host = Host(tmp_path / "state", server.url)
    yield host
    host.close()


@pytest.fixture
def other_host(tmp_path, server):
    host = Host(tmp_path / "elsewhere", server.url)
    yield host
    host.close()


@pytest.fixture
def reader(server):
    return Reader(server.url)
