"""Objects of a version whose documents are not what a client of kelt's or W&B's writes."""

from __future__ import annotations

import json

import pytest

from kelt.api_client import QueryError
from kelt.api_client.artifacts import StoredArtifact


class OneDocument:
    """A server that has one document."""

    upstream = "http://server"

    def __init__(self, said):
        self.said = said

    def get(self, _route, _arguments=()):
        return {"files": [{"path": "t.table.json", "size_bytes": 1, "digest": "d"}]}

    def content(self, _route):
        yield json.dumps({"_type": "table", **self.said}).encode()


@pytest.mark.parametrize(
    "said",
    [
        {"data": []},
        {"columns": ["a"], "data": [[1, 2]]},
        {"columns": ["a"], "data": [], "column_types": 5},
        {"columns": ["a"], "data": [[{"_type": "image-file", "path": "../../secret"}]]},
    ],
)
def test_a_document_that_describes_no_object_is_damaged(tmp_path, monkeypatch, said):
    monkeypatch.chdir(tmp_path)
    data = {
        "id": "QXJ0aWZhY3Q6MQ==", "entity": "e", "project": "p", "name": "n", "version": "v0",
        "type": "t", "aliases": [], "tags": [], "description": None, "metadata": {},
    }  # fmt: skip
    found = StoredArtifact(connection=OneDocument(said), data=data)
    with pytest.raises(QueryError, match=r"'t.table.json' of n:v0 is damaged .*download\(\)"):
        found.get("t")
