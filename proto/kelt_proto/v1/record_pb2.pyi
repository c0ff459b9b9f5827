from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Batch(_message.Message):
    __slots__ = ("writer_id", "first_seq", "last_seq", "crc32", "frames")
    WRITER_ID_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEQ_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQ_FIELD_NUMBER: _ClassVar[int]
    CRC32_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    writer_id: bytes
    first_seq: int
    last_seq: int
    crc32: int
    frames: bytes
    def __init__(self, writer_id: _Optional[bytes] = ..., first_seq: _Optional[int] = ..., last_seq: _Optional[int] = ..., crc32: _Optional[int] = ..., frames: _Optional[bytes] = ...) -> None: ...

class BranchPoint(_message.Message):
    __slots__ = ("entity", "project", "run_id", "branch_id", "step")
    ENTITY_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    BRANCH_ID_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    entity: str
    project: str
    run_id: str
    branch_id: str
    step: int
    def __init__(self, entity: _Optional[str] = ..., project: _Optional[str] = ..., run_id: _Optional[str] = ..., branch_id: _Optional[str] = ..., step: _Optional[int] = ...) -> None: ...

class RunOpened(_message.Message):
    __slots__ = ("entity", "project", "run_id", "branch_id", "started_at", "info", "host", "sdk_version", "created", "resumed", "forked", "rewound", "shared", "retold")
    ENTITY_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    BRANCH_ID_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    INFO_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    SDK_VERSION_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    RESUMED_FIELD_NUMBER: _ClassVar[int]
    FORKED_FIELD_NUMBER: _ClassVar[int]
    REWOUND_FIELD_NUMBER: _ClassVar[int]
    SHARED_FIELD_NUMBER: _ClassVar[int]
    RETOLD_FIELD_NUMBER: _ClassVar[int]
    entity: str
    project: str
    run_id: str
    branch_id: str
    started_at: float
    info: RunInfo
    host: Host
    sdk_version: str
    created: Created
    resumed: Resumed
    forked: BranchPoint
    rewound: BranchPoint
    shared: Shared
    retold: Retold
    def __init__(self, entity: _Optional[str] = ..., project: _Optional[str] = ..., run_id: _Optional[str] = ..., branch_id: _Optional[str] = ..., started_at: _Optional[float] = ..., info: _Optional[_Union[RunInfo, _Mapping]] = ..., host: _Optional[_Union[Host, _Mapping]] = ..., sdk_version: _Optional[str] = ..., created: _Optional[_Union[Created, _Mapping]] = ..., resumed: _Optional[_Union[Resumed, _Mapping]] = ..., forked: _Optional[_Union[BranchPoint, _Mapping]] = ..., rewound: _Optional[_Union[BranchPoint, _Mapping]] = ..., shared: _Optional[_Union[Shared, _Mapping]] = ..., retold: _Optional[_Union[Retold, _Mapping]] = ...) -> None: ...

class Retold(_message.Message):
    __slots__ = ("process",)
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    process: str
    def __init__(self, process: _Optional[str] = ...) -> None: ...

class Shared(_message.Message):
    __slots__ = ("label", "is_primary")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    IS_PRIMARY_FIELD_NUMBER: _ClassVar[int]
    label: str
    is_primary: bool
    def __init__(self, label: _Optional[str] = ..., is_primary: bool = ...) -> None: ...

class Created(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Resumed(_message.Message):
    __slots__ = ("point_unknown", "last_step", "mode")
    POINT_UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    LAST_STEP_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    point_unknown: bool
    last_step: int
    mode: str
    def __init__(self, point_unknown: bool = ..., last_step: _Optional[int] = ..., mode: _Optional[str] = ...) -> None: ...

class Host(_message.Message):
    __slots__ = ("hostname", "machine_id", "boot_id", "pid", "pid_start_ticks", "program", "python")
    HOSTNAME_FIELD_NUMBER: _ClassVar[int]
    MACHINE_ID_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    PID_START_TICKS_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    PYTHON_FIELD_NUMBER: _ClassVar[int]
    hostname: str
    machine_id: str
    boot_id: str
    pid: int
    pid_start_ticks: int
    program: str
    python: str
    def __init__(self, hostname: _Optional[str] = ..., machine_id: _Optional[str] = ..., boot_id: _Optional[str] = ..., pid: _Optional[int] = ..., pid_start_ticks: _Optional[int] = ..., program: _Optional[str] = ..., python: _Optional[str] = ...) -> None: ...

class RunInfo(_message.Message):
    __slots__ = ("name", "notes", "group", "job_type", "tags")
    NAME_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    JOB_TYPE_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    name: str
    notes: str
    group: str
    job_type: str
    tags: Tags
    def __init__(self, name: _Optional[str] = ..., notes: _Optional[str] = ..., group: _Optional[str] = ..., job_type: _Optional[str] = ..., tags: _Optional[_Union[Tags, _Mapping]] = ...) -> None: ...

class Tags(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, values: _Optional[_Iterable[str]] = ...) -> None: ...

class JsonItem(_message.Message):
    __slots__ = ("key", "json", "removed")
    KEY_FIELD_NUMBER: _ClassVar[int]
    JSON_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    key: str
    json: str
    removed: bool
    def __init__(self, key: _Optional[str] = ..., json: _Optional[str] = ..., removed: bool = ...) -> None: ...

class Config(_message.Message):
    __slots__ = ("items", "at")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[JsonItem]
    at: float
    def __init__(self, items: _Optional[_Iterable[_Union[JsonItem, _Mapping]]] = ..., at: _Optional[float] = ...) -> None: ...

class Summary(_message.Message):
    __slots__ = ("items", "step")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[JsonItem]
    step: int
    def __init__(self, items: _Optional[_Iterable[_Union[JsonItem, _Mapping]]] = ..., step: _Optional[int] = ...) -> None: ...

class MetricDefinition(_message.Message):
    __slots__ = ("name", "step_metric", "summary", "goal", "hidden", "step")
    NAME_FIELD_NUMBER: _ClassVar[int]
    STEP_METRIC_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    GOAL_FIELD_NUMBER: _ClassVar[int]
    HIDDEN_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    name: str
    step_metric: str
    summary: str
    goal: str
    hidden: bool
    step: int
    def __init__(self, name: _Optional[str] = ..., step_metric: _Optional[str] = ..., summary: _Optional[str] = ..., goal: _Optional[str] = ..., hidden: bool = ..., step: _Optional[int] = ...) -> None: ...

class Rewind(_message.Message):
    __slots__ = ("branch_id", "point", "at")
    BRANCH_ID_FIELD_NUMBER: _ClassVar[int]
    POINT_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    branch_id: str
    point: BranchPoint
    at: float
    def __init__(self, branch_id: _Optional[str] = ..., point: _Optional[_Union[BranchPoint, _Mapping]] = ..., at: _Optional[float] = ...) -> None: ...

class Exit(_message.Message):
    __slots__ = ("exit_code", "reason", "signal", "at")
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    exit_code: int
    reason: str
    signal: int
    at: float
    def __init__(self, exit_code: _Optional[int] = ..., reason: _Optional[str] = ..., signal: _Optional[int] = ..., at: _Optional[float] = ...) -> None: ...

class Loss(_message.Message):
    __slots__ = ("writer_id", "first_seq", "last_seq", "rows", "reason")
    WRITER_ID_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEQ_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQ_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    writer_id: bytes
    first_seq: int
    last_seq: int
    rows: int
    reason: str
    def __init__(self, writer_id: _Optional[bytes] = ..., first_seq: _Optional[int] = ..., last_seq: _Optional[int] = ..., rows: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class Assertion(_message.Message):
    __slots__ = ("writer_id", "state", "reason", "exit_code", "signal", "at")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Assertion.State]
        RUNNING: _ClassVar[Assertion.State]
        STALLED: _ClassVar[Assertion.State]
        FINISHED: _ClassVar[Assertion.State]
        FAILED: _ClassVar[Assertion.State]
        CRASHED: _ClassVar[Assertion.State]
    STATE_UNSPECIFIED: Assertion.State
    RUNNING: Assertion.State
    STALLED: Assertion.State
    FINISHED: Assertion.State
    FAILED: Assertion.State
    CRASHED: Assertion.State
    WRITER_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    writer_id: bytes
    state: Assertion.State
    reason: str
    exit_code: int
    signal: int
    at: float
    def __init__(self, writer_id: _Optional[bytes] = ..., state: _Optional[_Union[Assertion.State, str]] = ..., reason: _Optional[str] = ..., exit_code: _Optional[int] = ..., signal: _Optional[int] = ..., at: _Optional[float] = ...) -> None: ...

class Console(_message.Message):
    __slots__ = ("lines",)
    LINES_FIELD_NUMBER: _ClassVar[int]
    lines: _containers.RepeatedCompositeFieldContainer[ConsoleLine]
    def __init__(self, lines: _Optional[_Iterable[_Union[ConsoleLine, _Mapping]]] = ...) -> None: ...

class ConsoleLine(_message.Message):
    __slots__ = ("number", "stream", "at", "text", "label")
    class Stream(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STDOUT: _ClassVar[ConsoleLine.Stream]
        STDERR: _ClassVar[ConsoleLine.Stream]
    STDOUT: ConsoleLine.Stream
    STDERR: ConsoleLine.Stream
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    number: int
    stream: ConsoleLine.Stream
    at: float
    text: str
    label: str
    def __init__(self, number: _Optional[int] = ..., stream: _Optional[_Union[ConsoleLine.Stream, str]] = ..., at: _Optional[float] = ..., text: _Optional[str] = ..., label: _Optional[str] = ...) -> None: ...

class System(_message.Message):
    __slots__ = ("samples",)
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    samples: _containers.RepeatedCompositeFieldContainer[SystemSample]
    def __init__(self, samples: _Optional[_Iterable[_Union[SystemSample, _Mapping]]] = ...) -> None: ...

class SystemSample(_message.Message):
    __slots__ = ("at", "runtime", "values")
    AT_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    at: float
    runtime: float
    values: _containers.RepeatedCompositeFieldContainer[JsonItem]
    def __init__(self, at: _Optional[float] = ..., runtime: _Optional[float] = ..., values: _Optional[_Iterable[_Union[JsonItem, _Mapping]]] = ...) -> None: ...

class FilePiece(_message.Message):
    __slots__ = ("writer_id", "name", "version", "size_bytes", "offset_bytes", "content", "at")
    WRITER_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    OFFSET_BYTES_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    writer_id: bytes
    name: str
    version: bytes
    size_bytes: int
    offset_bytes: int
    content: bytes
    at: float
    def __init__(self, writer_id: _Optional[bytes] = ..., name: _Optional[str] = ..., version: _Optional[bytes] = ..., size_bytes: _Optional[int] = ..., offset_bytes: _Optional[int] = ..., content: _Optional[bytes] = ..., at: _Optional[float] = ...) -> None: ...

class ArtifactLogged(_message.Message):
    __slots__ = ("id", "name", "type", "digest", "step")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    type: str
    digest: str
    step: int
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., type: _Optional[str] = ..., digest: _Optional[str] = ..., step: _Optional[int] = ...) -> None: ...
