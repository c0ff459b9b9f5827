"""Executes the documents that clients send, whatever version of them, against the schema.

Clients of many versions ask for fields that this server does not have. So a document is not
validated: a field that is not known is left out of the answer, and variables have no types but what
they hold. Only the first operation, or the one that is named, is executed.

A short document can ask for more than there is time for, by asking for the same again at each
level. So what an answer may take is bounded (`_Budget`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    GraphQLError,
    GraphQLScalarType,
    NamedTypeNode,
    NameNode,
    OperationDefinitionNode,
    OperationType,
    ValueNode,
    VariableDefinitionNode,
    build_schema,
    default_field_resolver,
    execute_sync,
    parse,
    value_from_ast_untyped,
)
from graphql.language import Visitor, visit

from kelt_server.errors import (
    BadRequestError,
    BusyError,
    ForbiddenError,
    KeltServerError,
    StoreError,
)
from kelt_server.wandb_api import artifact_schema

_TOKENS_MAX = 20_000
#: Of one answer: 1,000 runs with all that is known of each are 60,000.
_FIELDS_MAX = 1_000_000
#: Longer than clients wait.
_ANSWER_S = 60.0

_SDL = """
scalar Any
type Query {
  viewer: User
  serverInfo: ServerInfo
  model(name: Any, entityName: Any): Project
  project(name: Any, entityName: Any): Project
  models(entityName: Any, first: Any, after: Any): Any
  entity(name: Any): Entity
}
type Mutation {
  upsertBucket(input: Any): UpsertBucket
  upsertModel(input: Any): UpsertModel
  rewindRun(input: Any): RewindRun
  createRunFiles(input: Any): CreateRunFiles
  markRunFilesUploaded(input: Any): Success
  deleteRun(input: Any): Done
  deleteFiles(input: Any): Success
  stopRun(input: Any): Done
}
type User {
  id: Any name: Any entity: Any username: Any email: Any flags: Any admin: Any deletedAt: Any
  teams: Teams apiKeys: ApiKeys
}
type ApiKeys { edges: [ApiKeyEdge] }
type ApiKeyEdge { node: ApiKey }
type ApiKey { id: Any name: Any description: Any }
type Teams { edges: [TeamEdge] }
type TeamEdge { node: Team }
type Team { id: Any name: Any }
type ServerInfo {
  features: [Feature] cliVersionInfo: Any latestLocalVersionInfo: LocalVersion
  exposesExplicitRunQueueAckPath: Any
}
type Feature { name: Any isEnabled: Any }
type LocalVersion { outOfDate: Any latestVersionString: Any versionOnThisInstanceString: Any }
type Entity { id: Any name: Any organization: Organization user: User }
type Project {
  id: Any internalId: Any name: Any entityName: Any createdAt: Any readOnly: Any description: Any
  entity: Entity
  bucket(name: Any, missingOk: Any): Run
  run(name: Any): Run
  runCount(filters: Any): Any
  runs(filters: Any, order: Any, first: Any, after: Any): RunConnection
}
type RunConnection { totalCount: Any edges: [RunEdge] pageInfo: PageInfo }
type RunEdge { node: Run cursor: Any }
type PageInfo { endCursor: Any hasNextPage: Any }
type Run {
  id: Any name: Any projectId: Any displayName: Any description: Any sweepName: Any state: Any
  config: Any group: Any jobType: Any commit: Any readOnly: Any createdAt: Any heartbeatAt: Any
  updatedAt: Any notes: Any tags: Any systemMetrics: Any summaryMetrics: Any historyLineCount: Any
  eventsLineCount: Any logLineCount: Any historyTail: Any eventsTail: Any historyKeys: Any
  host: Any stopped: Any
  user: User
  project: Project
  wandbConfig(keys: Any): Any
  history(minStep: Any, maxStep: Any, samples: Any): Any
  events(samples: Any): Any
  logLines(first: Any, after: Any, last: Any, useImprovedPagination: Any): LogLineConnection
  sampledHistory(specs: Any): Any
  parquetHistory(liveKeys: Any): ParquetHistory
  files(names: Any, after: Any, first: Any, pattern: Any, upload: Any): FileConnection
}
type LogLineConnection { edges: [LogLineEdge] pageInfo: PageInfo totalCount: Any }
type LogLineEdge { node: LogLine cursor: Any }
type LogLine { number: Any timestamp: Any level: Any label: Any line: Any }
type ParquetHistory { parquetUrls: Any liveData: Any }
type FileConnection { edges: [FileEdge] pageInfo: PageInfo totalCount: Any }
type FileEdge { node: File cursor: Any }
type File {
  id: Any name: Any url: Any directUrl: Any sizeBytes: Any mimetype: Any updatedAt: Any md5: Any
}
type UpsertBucket { bucket: Run inserted: Any serverSettings: ServerSettings }
type ServerSettings { serverMessages: Any }
type UpsertModel { model: Project project: Project inserted: Any }
type RewindRun { rewoundRun: Run }
type CreateRunFiles { runID: Any uploadHeaders: Any files: [UploadFile] }
type UploadFile { name: Any uploadUrl: Any }
type Success { success: Any }
type Done { clientMutationId: Any success: Any }
"""
#: Older clients ask what these have, and do not expect that they are not there.
_PROBED = """
type Organization { id: Any }
type LaunchAgent { id: Any }
input CreateRunQueueInput { entityName: Any }
input PushToRunQueueInput { entityName: Any }
input FailRunQueueItemInput { runQueueItemId: Any }
input CreateLaunchAgentInput { entityName: Any }
input DeleteFilesInput { files: Any }
"""


def _literal(node: ValueNode, variables: Mapping[str, Any] | None = None) -> Any:
    return value_from_ast_untyped(node, dict(variables or {}))


def _schema() -> Any:
    parts = (_SDL, _PROBED, artifact_schema.SDL, artifact_schema.PROBED)
    schema = build_schema("".join(parts), assume_valid=True)
    scalar = schema.type_map["Any"]
    assert isinstance(scalar, GraphQLScalarType)  # noqa: S101 # as written above
    untouched: Any = scalar  # its methods are attributes
    untouched.serialize = untouched.parse_value = lambda value: value
    untouched.parse_literal = _literal
    return schema


_SCHEMA = _schema()


class _Budget:
    """Mutable state: the fields that may still be answered."""

    def __init__(self, fields_max: int, clock: Callable[[], float]) -> None:
        self._left = fields_max
        self._clock = clock
        self._ends_at = clock() + _ANSWER_S

    @property
    def is_spent(self) -> bool:
        """Whether more was asked for."""
        return self._left < 0

    def resolve(self, source: Any, info: Any, **given: Any) -> Any:
        """The value of a field, as the library resolves it."""
        if self._left >= 0:
            self._left = -1 if self._clock() > self._ends_at else self._left - 1
        if self.is_spent:
            raise BadRequestError("a document asks for too much at once; ask in parts")
        return default_field_resolver(source, info, **given)


def execute_document(
    query: str,
    variables: Mapping[str, Any],
    operation: str | None,
    root: object,
    *,
    fields_max: int = _FIELDS_MAX,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """The answer, with `data` and perhaps `errors`.

    Args:
        query: the document.
        variables: by name.
        operation: which of the document's operations; empty if there is one.
        root: has what the schema's Query and Mutation have.
        fields_max: so many fields are answered at most.
        clock: seconds that only grow.

    Raises:
        StoreError, BusyError: it is to be asked again later.
        ForbiddenError: a part of it is not open to who asks.
    """
    try:
        document = parse(query, max_tokens=_TOKENS_MAX)
    except GraphQLError as error:
        return {"data": None, "errors": [{"message": error.message}]}
    budget = _Budget(fields_max, clock)
    result = execute_sync(
        _SCHEMA,
        _without_types(document),
        root_value=root,
        variable_values=dict(variables),
        operation_name=operation or _first_name(document),
        field_resolver=budget.resolve,
    )
    if budget.is_spent:
        raise BadRequestError("the document asks for too much at once; ask in parts")
    answer: dict[str, Any] = {"data": result.data}
    for found in result.errors or ():
        cause = found.original_error
        if isinstance(cause, StoreError | BusyError | ForbiddenError):
            raise cause
        if cause is not None and not isinstance(cause, KeltServerError | GraphQLError):
            raise cause
        answer.setdefault("errors", []).append({"message": found.message, "path": found.path})
    for name in _unknown_mutations(document):
        sentence = f"a kelt server does not do {name}: see docs/wandb-clients.md for what it does"
        answer.setdefault("errors", []).append({"message": sentence, "path": [name]})
    return answer


class _Untyped(Visitor):
    """Makes every variable one of any type."""

    def enter_variable_definition(self, node: Any, *_: Any) -> Any:
        """As the visitor calls it."""
        return VariableDefinitionNode(
            variable=node.variable,
            type=NamedTypeNode(name=NameNode(value="Any")),
            default_value=node.default_value,
        )


def _without_types(document: DocumentNode) -> DocumentNode:
    untyped: DocumentNode = visit(document, _Untyped())
    return untyped


def _unknown_mutations(document: DocumentNode) -> list[str]:
    """What a client wants to be done, and would else take for done."""
    known = _SCHEMA.mutation_type.fields
    return [
        field.name.value
        for node in document.definitions
        if isinstance(node, OperationDefinitionNode) and node.operation is OperationType.MUTATION
        for field in node.selection_set.selections
        if isinstance(field, FieldNode) and field.name.value not in known
    ]


def _first_name(document: DocumentNode) -> str | None:
    for node in document.definitions:
        if isinstance(node, OperationDefinitionNode):
            return node.name.value if node.name else None
    raise BadRequestError("the document has no operation")
