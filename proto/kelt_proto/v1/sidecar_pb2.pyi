from kelt_proto.v1 import record_pb2 as _record_pb2
from kelt_proto.v1 import upstream_pb2 as _upstream_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SidecarHelloRequest(_message.Message):
    __slots__ = ("version", "protocol", "upstream", "api_key", "ca_file", "proxy", "protocol_min")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    UPSTREAM_FIELD_NUMBER: _ClassVar[int]
    API_KEY_FIELD_NUMBER: _ClassVar[int]
    CA_FILE_FIELD_NUMBER: _ClassVar[int]
    PROXY_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_MIN_FIELD_NUMBER: _ClassVar[int]
    version: str
    protocol: int
    upstream: str
    api_key: str
    ca_file: str
    proxy: str
    protocol_min: int
    def __init__(self, version: _Optional[str] = ..., protocol: _Optional[int] = ..., upstream: _Optional[str] = ..., api_key: _Optional[str] = ..., ca_file: _Optional[str] = ..., proxy: _Optional[str] = ..., protocol_min: _Optional[int] = ...) -> None: ...

class SidecarHelloReply(_message.Message):
    __slots__ = ("version", "protocol", "pid", "default_entity", "upstream_state", "protocol_min", "writers_per_stream")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_ENTITY_FIELD_NUMBER: _ClassVar[int]
    UPSTREAM_STATE_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_MIN_FIELD_NUMBER: _ClassVar[int]
    WRITERS_PER_STREAM_FIELD_NUMBER: _ClassVar[int]
    version: str
    protocol: int
    pid: int
    default_entity: str
    upstream_state: UpstreamState
    protocol_min: int
    writers_per_stream: int
    def __init__(self, version: _Optional[str] = ..., protocol: _Optional[int] = ..., pid: _Optional[int] = ..., default_entity: _Optional[str] = ..., upstream_state: _Optional[_Union[UpstreamState, _Mapping]] = ..., protocol_min: _Optional[int] = ..., writers_per_stream: _Optional[int] = ...) -> None: ...

class SidecarDescribeRequest(_message.Message):
    __slots__ = ("upstream", "run")
    UPSTREAM_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    upstream: str
    run: _upstream_pb2.DescribeRunRequest
    def __init__(self, upstream: _Optional[str] = ..., run: _Optional[_Union[_upstream_pb2.DescribeRunRequest, _Mapping]] = ...) -> None: ...

class UpstreamState(_message.Message):
    __slots__ = ("state", "reason", "since", "url")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[UpstreamState.State]
        CONNECTING: _ClassVar[UpstreamState.State]
        REACHABLE: _ClassVar[UpstreamState.State]
        UNREACHABLE: _ClassVar[UpstreamState.State]
        REFUSED: _ClassVar[UpstreamState.State]
    STATE_UNSPECIFIED: UpstreamState.State
    CONNECTING: UpstreamState.State
    REACHABLE: UpstreamState.State
    UNREACHABLE: UpstreamState.State
    REFUSED: UpstreamState.State
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    state: UpstreamState.State
    reason: str
    since: float
    url: str
    def __init__(self, state: _Optional[_Union[UpstreamState.State, str]] = ..., reason: _Optional[str] = ..., since: _Optional[float] = ..., url: _Optional[str] = ...) -> None: ...

class AppendRequest(_message.Message):
    __slots__ = ("open", "batch", "close")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    CLOSE_FIELD_NUMBER: _ClassVar[int]
    open: OpenWriter
    batch: _record_pb2.Batch
    close: CloseWriter
    def __init__(self, open: _Optional[_Union[OpenWriter, _Mapping]] = ..., batch: _Optional[_Union[_record_pb2.Batch, _Mapping]] = ..., close: _Optional[_Union[CloseWriter, _Mapping]] = ...) -> None: ...

class OpenWriter(_message.Message):
    __slots__ = ("writer_id", "run_folder", "is_shared")
    WRITER_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_FOLDER_FIELD_NUMBER: _ClassVar[int]
    IS_SHARED_FIELD_NUMBER: _ClassVar[int]
    writer_id: bytes
    run_folder: str
    is_shared: bool
    def __init__(self, writer_id: _Optional[bytes] = ..., run_folder: _Optional[str] = ..., is_shared: bool = ...) -> None: ...

class CloseWriter(_message.Message):
    __slots__ = ("writer_id",)
    WRITER_ID_FIELD_NUMBER: _ClassVar[int]
    writer_id: bytes
    def __init__(self, writer_id: _Optional[bytes] = ...) -> None: ...

class AppendReply(_message.Message):
    __slots__ = ("durable_through", "committed_through", "linger_s", "upstream_state", "writer_id", "end", "must_stop")
    DURABLE_THROUGH_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_THROUGH_FIELD_NUMBER: _ClassVar[int]
    LINGER_S_FIELD_NUMBER: _ClassVar[int]
    UPSTREAM_STATE_FIELD_NUMBER: _ClassVar[int]
    WRITER_ID_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    MUST_STOP_FIELD_NUMBER: _ClassVar[int]
    durable_through: int
    committed_through: int
    linger_s: float
    upstream_state: UpstreamState
    writer_id: bytes
    end: WriterEnd
    must_stop: bool
    def __init__(self, durable_through: _Optional[int] = ..., committed_through: _Optional[int] = ..., linger_s: _Optional[float] = ..., upstream_state: _Optional[_Union[UpstreamState, _Mapping]] = ..., writer_id: _Optional[bytes] = ..., end: _Optional[_Union[WriterEnd, _Mapping]] = ..., must_stop: bool = ...) -> None: ...

class WriterEnd(_message.Message):
    __slots__ = ("problem", "is_passing")
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    IS_PASSING_FIELD_NUMBER: _ClassVar[int]
    problem: str
    is_passing: bool
    def __init__(self, problem: _Optional[str] = ..., is_passing: bool = ...) -> None: ...

class SyncRequest(_message.Message):
    __slots__ = ("paths", "retry_now", "upstream", "live")
    PATHS_FIELD_NUMBER: _ClassVar[int]
    RETRY_NOW_FIELD_NUMBER: _ClassVar[int]
    UPSTREAM_FIELD_NUMBER: _ClassVar[int]
    LIVE_FIELD_NUMBER: _ClassVar[int]
    paths: _containers.RepeatedScalarFieldContainer[str]
    retry_now: bool
    upstream: str
    live: bool
    def __init__(self, paths: _Optional[_Iterable[str]] = ..., retry_now: bool = ..., upstream: _Optional[str] = ..., live: bool = ...) -> None: ...

class SyncReply(_message.Message):
    __slots__ = ("folders", "done", "upstream_state")
    FOLDERS_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    UPSTREAM_STATE_FIELD_NUMBER: _ClassVar[int]
    folders: _containers.RepeatedCompositeFieldContainer[FolderProgress]
    done: bool
    upstream_state: UpstreamState
    def __init__(self, folders: _Optional[_Iterable[_Union[FolderProgress, _Mapping]]] = ..., done: bool = ..., upstream_state: _Optional[_Union[UpstreamState, _Mapping]] = ...) -> None: ...

class FolderProgress(_message.Message):
    __slots__ = ("path", "entity", "project", "run_id", "records", "committed", "error", "bytes", "lost_rows", "is_over", "skipped", "is_synced", "upstream", "is_confirmed")
    PATH_FIELD_NUMBER: _ClassVar[int]
    ENTITY_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    LOST_ROWS_FIELD_NUMBER: _ClassVar[int]
    IS_OVER_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    IS_SYNCED_FIELD_NUMBER: _ClassVar[int]
    UPSTREAM_FIELD_NUMBER: _ClassVar[int]
    IS_CONFIRMED_FIELD_NUMBER: _ClassVar[int]
    path: str
    entity: str
    project: str
    run_id: str
    records: int
    committed: int
    error: str
    bytes: int
    lost_rows: int
    is_over: bool
    skipped: int
    is_synced: bool
    upstream: str
    is_confirmed: bool
    def __init__(self, path: _Optional[str] = ..., entity: _Optional[str] = ..., project: _Optional[str] = ..., run_id: _Optional[str] = ..., records: _Optional[int] = ..., committed: _Optional[int] = ..., error: _Optional[str] = ..., bytes: _Optional[int] = ..., lost_rows: _Optional[int] = ..., is_over: bool = ..., skipped: _Optional[int] = ..., is_synced: bool = ..., upstream: _Optional[str] = ..., is_confirmed: bool = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatusReply(_message.Message):
    __slots__ = ("version", "pid", "started_at", "state_dir", "upstreams", "runs", "journal_bytes", "bounds")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    STATE_DIR_FIELD_NUMBER: _ClassVar[int]
    UPSTREAMS_FIELD_NUMBER: _ClassVar[int]
    RUNS_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    BOUNDS_FIELD_NUMBER: _ClassVar[int]
    version: str
    pid: int
    started_at: float
    state_dir: str
    upstreams: _containers.RepeatedCompositeFieldContainer[UpstreamState]
    runs: _containers.RepeatedCompositeFieldContainer[RunStatus]
    journal_bytes: int
    bounds: _containers.RepeatedCompositeFieldContainer[BoundUse]
    def __init__(self, version: _Optional[str] = ..., pid: _Optional[int] = ..., started_at: _Optional[float] = ..., state_dir: _Optional[str] = ..., upstreams: _Optional[_Iterable[_Union[UpstreamState, _Mapping]]] = ..., runs: _Optional[_Iterable[_Union[RunStatus, _Mapping]]] = ..., journal_bytes: _Optional[int] = ..., bounds: _Optional[_Iterable[_Union[BoundUse, _Mapping]]] = ...) -> None: ...

class BoundUse(_message.Message):
    __slots__ = ("name", "used", "limit", "unit", "policy", "met")
    NAME_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    MET_FIELD_NUMBER: _ClassVar[int]
    name: str
    used: int
    limit: int
    unit: str
    policy: str
    met: int
    def __init__(self, name: _Optional[str] = ..., used: _Optional[int] = ..., limit: _Optional[int] = ..., unit: _Optional[str] = ..., policy: _Optional[str] = ..., met: _Optional[int] = ...) -> None: ...

class RunStatus(_message.Message):
    __slots__ = ("path", "entity", "project", "run_id", "state", "reason", "durable_records", "committed_records", "bytes", "state_at", "problem", "lost_rows", "upstream", "bounds", "label")
    PATH_FIELD_NUMBER: _ClassVar[int]
    ENTITY_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DURABLE_RECORDS_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_RECORDS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    STATE_AT_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    LOST_ROWS_FIELD_NUMBER: _ClassVar[int]
    UPSTREAM_FIELD_NUMBER: _ClassVar[int]
    BOUNDS_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    path: str
    entity: str
    project: str
    run_id: str
    state: str
    reason: str
    durable_records: int
    committed_records: int
    bytes: int
    state_at: float
    problem: str
    lost_rows: int
    upstream: str
    bounds: _containers.RepeatedCompositeFieldContainer[BoundUse]
    label: str
    def __init__(self, path: _Optional[str] = ..., entity: _Optional[str] = ..., project: _Optional[str] = ..., run_id: _Optional[str] = ..., state: _Optional[str] = ..., reason: _Optional[str] = ..., durable_records: _Optional[int] = ..., committed_records: _Optional[int] = ..., bytes: _Optional[int] = ..., state_at: _Optional[float] = ..., problem: _Optional[str] = ..., lost_rows: _Optional[int] = ..., upstream: _Optional[str] = ..., bounds: _Optional[_Iterable[_Union[BoundUse, _Mapping]]] = ..., label: _Optional[str] = ...) -> None: ...

class StopRequest(_message.Message):
    __slots__ = ("successor_version",)
    SUCCESSOR_VERSION_FIELD_NUMBER: _ClassVar[int]
    successor_version: str
    def __init__(self, successor_version: _Optional[str] = ...) -> None: ...

class StopReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
