"""What is asked of a W&B server: GraphQL documents with their variables, and posts. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kelt_daemon.upstream.wandb.carried_run import CarriedRun
from kelt_daemon.upstream.wandb.history_lines import Lines, encode
from kelt_daemon.upstream.wandb.run_config import config_of
from kelt_daemon.upstream.wandb.summaries import summary_of

HISTORY, SUMMARY = "wandb-history.jsonl", "wandb-summary.json"
#: What the lines of one post take together; a single longer line goes alone.
POST_BYTES_MAX = 10 * 1024 * 1024
_LINE_OVERHEAD_BYTES = 16

_BUCKET = """id name displayName config historyLineCount
  project { id name entity { id name } }"""

VIEWER = "query Viewer { viewer { id entity username } }"

UPSERT = (
    """mutation UpsertBucket($id: String, $name: String, $project: String, $entity: String,
  $groupName: String, $displayName: String, $notes: String, $config: JSONString, $host: String,
  $program: String, $jobType: String, $tags: [String!]) {
 upsertBucket(input: {id: $id, name: $name, groupName: $groupName, modelName: $project,
  entityName: $entity, displayName: $displayName, notes: $notes, config: $config, host: $host,
  jobProgram: $program, jobType: $jobType, tags: $tags}) {
  bucket { """
    + _BUCKET
    + """ }
  inserted } }"""
)

REWIND = (
    """mutation RewindRun($runName: String!, $entity: String, $project: String,
  $metricName: String!, $metricValue: Float!) {
 rewindRun(input: {runName: $runName, entityName: $entity, projectName: $project,
  metricName: $metricName, metricValue: $metricValue}) {
  rewoundRun { """
    + _BUCKET
    + """ } } }"""
)

STATUS = """query RunResumeStatus($project: String, $entity: String, $name: String!) {
 model(name: $project, entityName: $entity) { id name entity { id name }
  bucket(name: $name, missingOk: true) { id name displayName summaryMetrics historyLineCount
   historyTail config wandbConfig(keys: ["t"]) } } }"""


@dataclass(frozen=True, slots=True)
class Question:
    """A GraphQL document and its variables; `name` is the operation, for messages."""

    name: str
    document: str
    variables: Mapping[str, Any] = field(default_factory=dict)

    def body(self) -> bytes:
        """As it is sent."""
        said = {
            "operationName": self.name,
            "query": self.document,
            "variables": dict(self.variables),
        }
        return encode(said).encode("utf-8", "backslashreplace")


def viewer() -> Question:
    """Who the key belongs to."""
    return Question("Viewer", VIEWER)


def upsert(run: CarriedRun) -> Question:
    """Makes or changes the run: all of its config, and of its facts what is new.

    The first one of a session names host and program, by which servers tell a session's beginning.
    """
    is_first = not run.is_begun
    environment = run.environment if is_first else {}
    variables = {
        "id": (run.storage_id or None) if is_first else None,
        "name": run.run_id,
        "project": run.project,
        "entity": run.entity or None,
        "config": encode(config_of(run)),
        "host": environment.get("host"),
        "program": environment.get("program"),
        **dict.fromkeys(("groupName", "displayName", "notes", "jobType", "tags")),
        **run.facts_due,
    }
    return Question("UpsertBucket", UPSERT, variables)


def rewind(run: CarriedRun, step: int) -> Question:
    """Has everything after a step dropped."""
    variables = {
        "runName": run.run_id,
        "entity": run.entity or None,
        "project": run.project,
        "metricName": "_step",
        "metricValue": step,
    }
    return Question("RewindRun", REWIND, variables)


def status(entity: str, project: str, run_id: str) -> Question:
    """Where a run stands."""
    variables = {"project": project, "entity": entity or None, "name": run_id}
    return Question("RunResumeStatus", STATUS, variables)


def posts(run: CarriedRun, lines: Lines) -> Iterator[dict[str, Any]]:
    """What goes to `file_stream`: lines in pieces, and with the last the summary and the end."""
    index, pieces = lines.first_index, list(_pieces(lines.texts))
    for number, texts in enumerate(pieces):
        files = {HISTORY: {"offset": index, "content": texts}}
        index += len(texts)
        is_last = number == len(pieces) - 1
        yield {"files": files, **_close(run, files)} if is_last else {"files": files}
    if not pieces and (run.summary_due or (_ends(run) and not run.is_completed)):
        files = {}
        yield {"files": files, **_close(run, files)}


def completion(exit_code: int) -> dict[str, Any]:
    """Says that the run has ended."""
    return {"complete": True, "exitcode": exit_code}


def _close(run: CarriedRun, files: dict[str, Any]) -> dict[str, Any]:
    if run.summary_due or _ends(run):
        files[SUMMARY] = {"offset": 0, "content": [encode(summary_of(run))]}
    return completion(run.exit_code or 0) if _ends(run) else {}


def _ends(run: CarriedRun) -> bool:
    """Whether the post says the end: of a shared run its primary alone does."""
    return run.exit_code is not None and (run.is_primary or not run.is_shared)


def _pieces(texts: list[str]) -> Iterator[list[str]]:
    piece: list[str] = []
    size_bytes = 0
    for text in texts:
        # Within JSON again: quotes are escaped.
        more_bytes = len(text.encode("utf-8", "surrogatepass")) + text.count('"')
        more_bytes += _LINE_OVERHEAD_BYTES
        if piece and size_bytes + more_bytes > POST_BYTES_MAX:
            yield piece
            piece, size_bytes = [], 0
        piece.append(text)
        size_bytes += more_bytes
    if piece:
        yield piece
