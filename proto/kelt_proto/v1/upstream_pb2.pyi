from kelt_proto.v1 import record_pb2 as _record_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class UpstreamHelloRequest(_message.Message):
    __slots__ = ("version", "protocol", "protocol_min")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_MIN_FIELD_NUMBER: _ClassVar[int]
    version: str
    protocol: int
    protocol_min: int
    def __init__(self, version: _Optional[str] = ..., protocol: _Optional[int] = ..., protocol_min: _Optional[int] = ...) -> None: ...

class UpstreamHelloReply(_message.Message):
    __slots__ = ("version", "protocol", "server_id", "default_entity", "push_bytes_max", "protocol_min")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    SERVER_ID_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_ENTITY_FIELD_NUMBER: _ClassVar[int]
    PUSH_BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_MIN_FIELD_NUMBER: _ClassVar[int]
    version: str
    protocol: int
    server_id: str
    default_entity: str
    push_bytes_max: int
    protocol_min: int
    def __init__(self, version: _Optional[str] = ..., protocol: _Optional[int] = ..., server_id: _Optional[str] = ..., default_entity: _Optional[str] = ..., push_bytes_max: _Optional[int] = ..., protocol_min: _Optional[int] = ...) -> None: ...

class PushRequest(_message.Message):
    __slots__ = ("batches",)
    BATCHES_FIELD_NUMBER: _ClassVar[int]
    batches: _containers.RepeatedCompositeFieldContainer[_record_pb2.Batch]
    def __init__(self, batches: _Optional[_Iterable[_Union[_record_pb2.Batch, _Mapping]]] = ...) -> None: ...

class PushReply(_message.Message):
    __slots__ = ("cursors",)
    CURSORS_FIELD_NUMBER: _ClassVar[int]
    cursors: _containers.RepeatedCompositeFieldContainer[WriterCursor]
    def __init__(self, cursors: _Optional[_Iterable[_Union[WriterCursor, _Mapping]]] = ...) -> None: ...

class WriterCursor(_message.Message):
    __slots__ = ("writer_id", "committed_through", "gap")
    WRITER_ID_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_THROUGH_FIELD_NUMBER: _ClassVar[int]
    GAP_FIELD_NUMBER: _ClassVar[int]
    writer_id: bytes
    committed_through: int
    gap: bool
    def __init__(self, writer_id: _Optional[bytes] = ..., committed_through: _Optional[int] = ..., gap: bool = ...) -> None: ...

class CursorsRequest(_message.Message):
    __slots__ = ("writer_ids",)
    WRITER_IDS_FIELD_NUMBER: _ClassVar[int]
    writer_ids: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, writer_ids: _Optional[_Iterable[bytes]] = ...) -> None: ...

class CursorsReply(_message.Message):
    __slots__ = ("cursors",)
    CURSORS_FIELD_NUMBER: _ClassVar[int]
    cursors: _containers.RepeatedCompositeFieldContainer[WriterCursor]
    def __init__(self, cursors: _Optional[_Iterable[_Union[WriterCursor, _Mapping]]] = ...) -> None: ...

class HeartbeatRequest(_message.Message):
    __slots__ = ("beats",)
    BEATS_FIELD_NUMBER: _ClassVar[int]
    beats: _containers.RepeatedCompositeFieldContainer[WriterBeat]
    def __init__(self, beats: _Optional[_Iterable[_Union[WriterBeat, _Mapping]]] = ...) -> None: ...

class WriterBeat(_message.Message):
    __slots__ = ("writer_id", "stalled")
    WRITER_ID_FIELD_NUMBER: _ClassVar[int]
    STALLED_FIELD_NUMBER: _ClassVar[int]
    writer_id: bytes
    stalled: bool
    def __init__(self, writer_id: _Optional[bytes] = ..., stalled: bool = ...) -> None: ...

class HeartbeatReply(_message.Message):
    __slots__ = ("stopped_writer_ids",)
    STOPPED_WRITER_IDS_FIELD_NUMBER: _ClassVar[int]
    stopped_writer_ids: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, stopped_writer_ids: _Optional[_Iterable[bytes]] = ...) -> None: ...

class DescribeRunRequest(_message.Message):
    __slots__ = ("entity", "project", "run_id", "step")
    ENTITY_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    entity: str
    project: str
    run_id: str
    step: int
    def __init__(self, entity: _Optional[str] = ..., project: _Optional[str] = ..., run_id: _Optional[str] = ..., step: _Optional[int] = ...) -> None: ...

class DescribeRunReply(_message.Message):
    __slots__ = ("exists", "entity", "project", "run_id", "branch_id", "last_step", "info", "config_json", "summary_json", "state", "runtime", "definitions", "live_writers", "problems")
    EXISTS_FIELD_NUMBER: _ClassVar[int]
    ENTITY_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    BRANCH_ID_FIELD_NUMBER: _ClassVar[int]
    LAST_STEP_FIELD_NUMBER: _ClassVar[int]
    INFO_FIELD_NUMBER: _ClassVar[int]
    CONFIG_JSON_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_JSON_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    DEFINITIONS_FIELD_NUMBER: _ClassVar[int]
    LIVE_WRITERS_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    exists: bool
    entity: str
    project: str
    run_id: str
    branch_id: str
    last_step: int
    info: _record_pb2.RunInfo
    config_json: str
    summary_json: str
    state: str
    runtime: float
    definitions: _containers.RepeatedCompositeFieldContainer[_record_pb2.MetricDefinition]
    live_writers: _containers.RepeatedCompositeFieldContainer[LiveWriter]
    problems: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, exists: bool = ..., entity: _Optional[str] = ..., project: _Optional[str] = ..., run_id: _Optional[str] = ..., branch_id: _Optional[str] = ..., last_step: _Optional[int] = ..., info: _Optional[_Union[_record_pb2.RunInfo, _Mapping]] = ..., config_json: _Optional[str] = ..., summary_json: _Optional[str] = ..., state: _Optional[str] = ..., runtime: _Optional[float] = ..., definitions: _Optional[_Iterable[_Union[_record_pb2.MetricDefinition, _Mapping]]] = ..., live_writers: _Optional[_Iterable[_Union[LiveWriter, _Mapping]]] = ..., problems: _Optional[_Iterable[str]] = ...) -> None: ...

class LiveWriter(_message.Message):
    __slots__ = ("writer_id", "label", "hostname", "is_primary")
    WRITER_ID_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    HOSTNAME_FIELD_NUMBER: _ClassVar[int]
    IS_PRIMARY_FIELD_NUMBER: _ClassVar[int]
    writer_id: bytes
    label: str
    hostname: str
    is_primary: bool
    def __init__(self, writer_id: _Optional[bytes] = ..., label: _Optional[str] = ..., hostname: _Optional[str] = ..., is_primary: bool = ...) -> None: ...

class LogArtifactRequest(_message.Message):
    __slots__ = ("id", "entity", "project", "run_id", "name", "type", "description", "metadata_json", "aliases", "tags", "step", "manifest_md5", "writer_id")
    ID_FIELD_NUMBER: _ClassVar[int]
    ENTITY_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    METADATA_JSON_FIELD_NUMBER: _ClassVar[int]
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_MD5_FIELD_NUMBER: _ClassVar[int]
    WRITER_ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    entity: str
    project: str
    run_id: str
    name: str
    type: str
    description: str
    metadata_json: str
    aliases: _containers.RepeatedScalarFieldContainer[str]
    tags: _containers.RepeatedScalarFieldContainer[str]
    step: int
    manifest_md5: str
    writer_id: bytes
    def __init__(self, id: _Optional[str] = ..., entity: _Optional[str] = ..., project: _Optional[str] = ..., run_id: _Optional[str] = ..., name: _Optional[str] = ..., type: _Optional[str] = ..., description: _Optional[str] = ..., metadata_json: _Optional[str] = ..., aliases: _Optional[_Iterable[str]] = ..., tags: _Optional[_Iterable[str]] = ..., step: _Optional[int] = ..., manifest_md5: _Optional[str] = ..., writer_id: _Optional[bytes] = ...) -> None: ...

class LogArtifactReply(_message.Message):
    __slots__ = ("missing", "version")
    MISSING_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    missing: _containers.RepeatedScalarFieldContainer[str]
    version: str
    def __init__(self, missing: _Optional[_Iterable[str]] = ..., version: _Optional[str] = ...) -> None: ...

class ArtifactPiece(_message.Message):
    __slots__ = ("entity", "md5", "content")
    ENTITY_FIELD_NUMBER: _ClassVar[int]
    MD5_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    entity: str
    md5: str
    content: bytes
    def __init__(self, entity: _Optional[str] = ..., md5: _Optional[str] = ..., content: _Optional[bytes] = ...) -> None: ...

class PutArtifactFileReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
