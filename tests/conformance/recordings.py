"""What a server was told of a run, in a form in which two clients can be compared.

Left out is what differs between any two runs of one client: times, ids of writers, telemetry, the
machine, how rows are cut into posts; and console and system metrics.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any

import yaml

from harness.wandb_stub import HISTORY, SUMMARY, Request, WandbStub, flattened, plain

_FACTS = ("name", "project", "displayName", "notes", "groupName", "jobType", "tags")

#: When these go among the posts is by chance: W&B's client does both at once.
_FILES = frozenset(("createRunFiles", "upload"))


@dataclass(frozen=True)
class Told:
    """What was said of one run by one session."""

    #: What was asked, in its order, without repeats of the same.
    order: tuple[str, ...]
    #: The first upsert: what people see, and whether the server's id was named.
    facts: dict[str, Any]
    knows_id: bool
    branch_point: Any
    rewinds: tuple[Any, ...]
    #: By index.
    lines: dict[int, Any]
    config: dict[str, Any]
    metrics: dict[str, Any]
    summary: dict[str, Any]
    #: Those that were put and told of, by name, as values.
    files: dict[str, Any]
    end: tuple[Any, Any]


def told(stub: WandbStub, run_id: str) -> list[Told]:
    """By session: each ends with the post that says so."""
    sessions: list[list[Request]] = [[]]
    for request in stub.requests:
        if request.run_id == run_id:
            sessions[-1].append(request)
            if request.body.get("complete"):
                sessions.append([])
    return [_session(requests) for requests in sessions if requests]


def told_of_artifacts(stub: WandbStub) -> list[list[Any]]:
    """Of each artifact in turn what was asked, in its order, without the ids that clients give.

    W&B's client goes on with the next one meanwhile, so whether a file of two is put once or twice
    is by chance: what is there in the end is compared instead.
    """
    found: dict[str, list[Any]] = {}
    begun = iter(stub.artifacts.begun)
    for request in stub.requests:
        given = request.body.get("variables") or {}
        if request.kind == "createArtifact":
            said = given["input"]
            is_known = said["digest"] in {a[0][1]["digest"] for a in found.values() if a}
            key = f"again-{len(found)}" if is_known else next(begun)
            kept = {k: v for k, v in said.items() if v is not None and not k.endswith("lientID")}
            kept["tags"] = [tag["tagName"] for tag in said.get("tags") or ()]
            kept["aliases"] = sorted(alias["alias"] for alias in said["aliases"])
            kept["metadata"] = json.loads(said.get("metadata") or "{}")
            found[key] = [("createArtifact", kept)]
        elif request.kind == "createArtifactManifest":
            kept = {k: v for k, v in given.items() if k not in {"artifactID", "digest"}}
            found[given["artifactID"]].append((request.kind, kept))
        elif request.kind == "createArtifactFiles":
            files = given["input"]["artifactFiles"]
            named = [(file["name"], file["md5"]) for file in files]
            found[files[0]["artifactID"]].append((request.kind, sorted(named)))
        elif request.kind == "commitArtifact":
            contents = stub.artifacts.begun[given["artifactID"]].manifest
            found[given["artifactID"]].append((request.kind, _manifest(contents)))
    return sorted(found.values(), key=lambda of: of[0][1]["artifactCollectionName"])


def _manifest(said: dict[str, Any]) -> dict[str, Any]:
    """Without where files lay on the client's disk."""
    names = ("digest", "ref", "birthArtifactID")
    contents = {
        path: ({name: entry.get(name) for name in names}, entry.get("size") or 0)
        for path, entry in said["contents"].items()
    }
    return {**said, "contents": contents}


def _session(requests: list[Request]) -> Told:
    upserts = [r.body["variables"] for r in requests if r.kind == "upsertBucket"]
    posts = [r.body for r in requests if r.kind == "file_stream"]
    config = json.loads(upserts[-1]["config"])
    internal = config.pop("_wandb")["value"]
    first = json.loads(upserts[0]["config"])["_wandb"]["value"]
    ends = [(p.get("complete"), p.get("exitcode")) for p in posts if p.get("complete")]
    return Told(
        order=tuple(dict.fromkeys(r.kind for r in requests if r.kind not in _FILES)),
        facts={name: upserts[0].get(name) or None for name in _FACTS},
        knows_id=bool(upserts[0].get("id")),
        branch_point=first.get("branch_point"),
        rewinds=tuple(
            (v["metricName"], v["metricValue"])
            for r in requests
            if r.kind == "rewindRun" and (v := r.body["variables"])
        ),
        lines=_lines(posts),
        config=config,
        metrics=_metrics(internal["m"]),
        summary=_summary(posts),
        files=_files(requests, {name for post in posts for name in post.get("uploaded", ())}),
        end=ends[-1] if ends else (None, None),
    )


def _lines(posts: list[dict[str, Any]]) -> dict[int, Any]:
    found = {}
    for post in posts:
        if (history := post.get("files", {}).get(HISTORY)) is not None:
            for number, line in enumerate(history["content"]):
                found[history["offset"] + number] = _comparable(plain(json.loads(line)))
    return found


def _summary(posts: list[dict[str, Any]]) -> dict[str, Any]:
    found = [p["files"][SUMMARY]["content"][-1] for p in posts if SUMMARY in p.get("files", {})]
    values = flattened(json.loads(found[-1])) if found else {}
    return _comparable({k: v for k, v in values.items() if not k.startswith("_") or k == "_step"})


def _files(requests: list[Request], told: set[str]) -> dict[str, Any]:
    """What differs between machines and clients is left out of them."""
    put = {r.file: r.content for r in requests if r.kind == "upload"}
    assert put.keys() == told
    requirements = put.pop("requirements.txt").decode().split()
    metadata = json.loads(put.pop("wandb-metadata.json"))
    config = yaml.safe_load(put.pop("config.yaml"))
    internal = config.pop("_wandb")["value"]
    summary = flattened(json.loads(put.pop("wandb-summary.json")))
    return {
        # As pip compares them: W&B's client has the names that are in the packages.
        "requirements.txt": {re.sub(r"[-_.]+", "-", line).lower() for line in requirements},
        "config.yaml": (config, internal.get("branch_point"), _metrics(internal["m"])),
        "wandb-summary.json": _comparable(
            {k: v for k, v in summary.items() if k[0] != "_" or k == "_step"}
        ),
        "wandb-metadata.json": {name: metadata[name] for name in ("host", "python")},
        **put,
    }


def _metrics(said: list[dict[str, Any]]) -> dict[str, Any]:
    """By name: step metric, options and summaries; places in the list say nothing."""
    names = [item.get("1") or item.get("2") for item in said]
    return {
        name: (
            names[item["5"] - 1] if item.get("5") else None,
            item.get("6") or [],
            item.get("7") or [],
            "2" in item,
        )
        for name, item in zip(names, said, strict=True)
    }


def _comparable(values: dict[str, Any]) -> dict[str, Any]:
    return {
        key: "nan" if isinstance(value, float) and math.isnan(value) else value
        for key, value in values.items()
    }
