"""What is asked of a W&B server: GraphQL documents with their variables, and posts. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kelt_daemon.upstream.wandb.carried_run import CarriedRun
from kelt_daemon.upstream.wandb.folding import Folded, client_id
from kelt_daemon.upstream.wandb.history_lines import Lines, encode, size_bytes_of
from kelt_daemon.upstream.wandb.output_lines import console_pieces
from kelt_daemon.upstream.wandb.run_config import config_of
from kelt_daemon.upstream.wandb.summaries import summary_of

HISTORY, SUMMARY = "wandb-history.jsonl", "wandb-summary.json"
EVENTS, CONSOLE = "wandb-events.jsonl", "output.log"
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
   eventsLineCount logLineCount historyTail config wandbConfig(keys: ["t"]) } } }"""


CREATE_FILES = """mutation CreateRunFiles($entity: String!, $project: String!, $run: String!,
  $files: [String!]!) {
 createRunFiles(input: {entityName: $entity, projectName: $project, runName: $run,
  files: $files}) { runID uploadHeaders files { name uploadUrl } } }"""


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


def create_files(run: CarriedRun, names: Sequence[str]) -> Question:
    """Where files are to be put."""
    variables = {
        "entity": run.entity,
        "project": run.project,
        "run": run.run_id,
        "files": list(names),
    }
    return Question("CreateRunFiles", CREATE_FILES, variables)


def stream_headers(run: CarriedRun) -> dict[str, str]:
    """By which W&B keeps the writers of a shared run apart."""
    if not run.is_shared:
        return {}
    return {
        "x-wandb-use-async-filestream": "true",
        "x-wandb-async-client-id": client_id(run.writer_id),
    }


def posts(run: CarriedRun, folded: Folded) -> Iterator[dict[str, Any]]:
    """What goes to `file_stream`: lines in pieces, and with the last the summary."""
    packed = list(_packed(folded)) or ([{}] if run.summary_due else [])
    if packed and run.summary_due:
        packed[-1][SUMMARY] = {"offset": 0, "content": [encode(summary_of(run))]}
    for files in packed:
        yield {"files": files}


def completion(exit_code: int, names: Sequence[str] = ()) -> dict[str, Any]:
    """Says that the run has ended, and which files are where they were to be put."""
    return {**(uploaded(names) if names else {}), "complete": True, "exitcode": exit_code}


def uploaded(names: Sequence[str]) -> dict[str, Any]:
    """Says that files are where they were to be put."""
    return {"uploaded": list(names)}


def _packed(folded: Folded) -> Iterator[dict[str, Any]]:
    """As much as fits into a post, of each file one piece."""
    files: dict[str, Any] = {}
    room_bytes = POST_BYTES_MAX
    for name, lines in _parts(folded):
        for piece, size_bytes in _pieces(lines):
            if name in files or (files and size_bytes > room_bytes):
                yield files
                files, room_bytes = {}, POST_BYTES_MAX
            files[name] = {"offset": piece.first_index, "content": piece.texts}
            room_bytes -= size_bytes
    if files:
        yield files


def _parts(folded: Folded) -> Iterator[tuple[str, Lines]]:
    yield HISTORY, folded.history
    yield EVENTS, folded.events
    for lines in console_pieces(folded.console):
        yield CONSOLE, lines


def _pieces(lines: Lines) -> Iterator[tuple[Lines, int]]:
    """Lines that go together, and about how many bytes they take."""
    piece, size_bytes = Lines(), 0
    for index, text in enumerate(lines.texts, lines.first_index):
        # Within JSON again: quotes are escaped.
        more_bytes = size_bytes_of(text) + text.count('"') + _LINE_OVERHEAD_BYTES
        if piece.texts and size_bytes + more_bytes > POST_BYTES_MAX:
            yield piece, size_bytes
            piece, size_bytes = Lines(), 0
        piece.add(index, text)
        size_bytes += more_bytes
    if piece.texts:
        yield piece, size_bytes
