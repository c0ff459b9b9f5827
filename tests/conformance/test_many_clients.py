"""More questions at a time than there are threads to answer them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
from conformance.conftest import KEY, Kelt

UPSERT = """mutation UpsertBucket($name: String, $host: String) {
  upsertBucket(input: {name: $name, modelName: "p", host: $host}) { bucket { name } } }"""


def test_many_runs_begin_at_once(kelt: Kelt) -> None:
    def begin(number: int) -> Any:
        body = {"query": UPSERT, "variables": {"name": f"r{number}", "host": "h"}}
        answer = httpx.post(
            f"{kelt.url}/graphql", json=body, auth=("api", KEY), timeout=60, trust_env=False
        )
        return answer.json()["data"]["upsertBucket"]["bucket"]["name"]

    with ThreadPoolExecutor(100) as threads:
        found = list(threads.map(begin, range(100)))
    assert found == [f"r{number}" for number in range(100)]
    assert kelt.get("/runs", project="p", limit=1000)["total"] == 100
