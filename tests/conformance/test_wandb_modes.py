"""What clients can be told to do otherwise: many writers, typed values, gzip, TLS."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import trustme
from conformance.conftest import Client, Kelt

from harness.amounts import long_only

SHARED = """
label, updates = sys.argv[1], sys.argv[2] == "primary"
settings = wandb.Settings(x_label=label, x_primary=updates, x_update_finish_state=updates)
r = wandb.init(id="r1", mode="shared", config={label: 1}, settings=settings)
for i in range(int(sys.argv[3])):
    r.log({"loss": i * 0.5, label: i})
    time.sleep(0.05)
r.summary["best of " + label] = 3
r.finish()
"""


def texts(rows: list[dict[str, Any]], key: str) -> list[tuple[int, Any]]:
    return [(row["step"], row["values"][key]) for row in rows if key in row["values"]]


def outcome(processes: list[subprocess.Popen[str]]) -> None:
    for process in processes:
        out, err = process.communicate(timeout=100)
        assert process.returncode == 0, out + err


def test_writers_of_a_shared_run_keep_their_rows(client: Client, kelt: Kelt) -> None:
    ranks = {"rank0": ("primary", "20"), "rank1": ("secondary", "30"), "rank2": ("secondary", "10")}
    outcome([client.start(SHARED, arguments=[label, *how]) for label, how in ranks.items()])
    run = kelt.run("r1")
    assert (sorted(run["labels"]), run["rows"], run["archived"]) == (sorted(ranks), 60, [])
    for label, (_, number) in ranks.items():
        rows = kelt.get("/runs/-/p/r1/history", label=label, limit=5000)["rows"]
        assert texts(rows, "loss") == [(i, i * 0.5) for i in range(int(number))]
        assert texts(rows, label) == [(i, i) for i in range(int(number))]
    assert (run["state"], run["lost_rows"], run["problems"]) == ("finished", 0, [])
    assert run["config"] == dict.fromkeys(ranks, 1)
    assert {f"best of {label}" for label in ranks} <= run["summary"].keys()


@long_only
def test_two_ordinary_clients_of_one_id_keep_all_their_rows(client: Client, kelt: Kelt) -> None:
    client.run('r = wandb.init(id="r1"); r.log({"loss": 0}); r.finish()')
    code = """
    r = wandb.init(id="r1", resume="allow")
    for i in range(1, 26):
        r.log({"loss": i * int(sys.argv[1])})
        time.sleep(0.1)
    r.finish()
    """
    often = {"WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL": "0.4"}
    outcome([client.start(code, arguments=[sign], **often) for sign in ("1", "-1")])
    losses = [value for _, value in kelt.values("r1", "loss")]
    assert sorted(losses) == list(range(-25, 26))
    run = kelt.run("r1")
    assert (run["rows"], run["lost_rows"], run["archived"]) == (51, 0, [])


@long_only
def test_typed_values_and_gzip(client: Client, kelt: Kelt) -> None:
    code = """
    settings = wandb.Settings(x_history_value_encoding="json,typed", x_file_stream_no_gzip=False)
    r = wandb.init(id="r1", settings=settings)
    r.log({"f": 1.5, "i": 3, "b": True, "t": "text" * 2000, "n": None, "nan": float("nan"),
           "l": [1, 2], "d": {"x": 1}, "big": 2**62, "whole": 2.0})
    r.log({"f": float("inf")})
    r.finish()
    """
    client.run(code)
    first, second = kelt.rows("r1")
    assert first["values"] == {
        "f": 1.5, "i": 3, "b": True, "t": "text" * 2000, "n": None, "nan": {"$float": "NaN"},
        "l": [1, 2], "d.x": 1, "big": 2**62, "whole": 2,
    }  # fmt: skip
    assert second["values"] == {"f": {"$float": "Infinity"}}


@long_only
def test_over_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    issued = authority.issue_cert("127.0.0.1", "localhost")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    kelt = Kelt(
        tmp_path, options=("--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem"))
    )  # fmt: skip
    kelt.start()
    try:
        home = tmp_path / "home"
        home.mkdir()
        client = Client(home, f"https://127.0.0.1:{kelt.port}")
        trusted = {
            name: str(tmp_path / "ca.pem") for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
        }
        code = """
        r = wandb.init(id="r1")
        r.log({"a": 1})
        r.finish()
        run = wandb.Api().run("p/r1")
        file = run.file("config.yaml").download(replace=True)
        print(json.dumps([[row["a"] for row in run.scan_history()], len(file.read()) > 0]))
        """
        assert client.answer(code, **trusted) == [[1], True]
    finally:
        kelt.stop()
