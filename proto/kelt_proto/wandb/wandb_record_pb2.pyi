from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Record(_message.Message):
    __slots__ = ("num", "history", "summary", "output", "config", "files", "stats", "artifact", "tbrecord", "alert", "telemetry", "metric", "output_raw", "run", "exit", "final", "header", "footer", "preempting", "link_artifact", "use_artifact", "environment", "output_logger", "request")
    NUM_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    STATS_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_FIELD_NUMBER: _ClassVar[int]
    TBRECORD_FIELD_NUMBER: _ClassVar[int]
    ALERT_FIELD_NUMBER: _ClassVar[int]
    TELEMETRY_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_RAW_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    EXIT_FIELD_NUMBER: _ClassVar[int]
    FINAL_FIELD_NUMBER: _ClassVar[int]
    HEADER_FIELD_NUMBER: _ClassVar[int]
    FOOTER_FIELD_NUMBER: _ClassVar[int]
    PREEMPTING_FIELD_NUMBER: _ClassVar[int]
    LINK_ARTIFACT_FIELD_NUMBER: _ClassVar[int]
    USE_ARTIFACT_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_LOGGER_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    num: int
    history: bytes
    summary: bytes
    output: Output
    config: Config
    files: bytes
    stats: Stats
    artifact: bytes
    tbrecord: bytes
    alert: bytes
    telemetry: bytes
    metric: Metric
    output_raw: Output
    run: Run
    exit: Exit
    final: bytes
    header: Header
    footer: bytes
    preempting: bytes
    link_artifact: bytes
    use_artifact: bytes
    environment: bytes
    output_logger: bytes
    request: bytes
    def __init__(self, num: _Optional[int] = ..., history: _Optional[bytes] = ..., summary: _Optional[bytes] = ..., output: _Optional[_Union[Output, _Mapping]] = ..., config: _Optional[_Union[Config, _Mapping]] = ..., files: _Optional[bytes] = ..., stats: _Optional[_Union[Stats, _Mapping]] = ..., artifact: _Optional[bytes] = ..., tbrecord: _Optional[bytes] = ..., alert: _Optional[bytes] = ..., telemetry: _Optional[bytes] = ..., metric: _Optional[_Union[Metric, _Mapping]] = ..., output_raw: _Optional[_Union[Output, _Mapping]] = ..., run: _Optional[_Union[Run, _Mapping]] = ..., exit: _Optional[_Union[Exit, _Mapping]] = ..., final: _Optional[bytes] = ..., header: _Optional[_Union[Header, _Mapping]] = ..., footer: _Optional[bytes] = ..., preempting: _Optional[bytes] = ..., link_artifact: _Optional[bytes] = ..., use_artifact: _Optional[bytes] = ..., environment: _Optional[bytes] = ..., output_logger: _Optional[bytes] = ..., request: _Optional[bytes] = ...) -> None: ...

class Environment(_message.Message):
    __slots__ = ("writer_id",)
    WRITER_ID_FIELD_NUMBER: _ClassVar[int]
    writer_id: str
    def __init__(self, writer_id: _Optional[str] = ...) -> None: ...

class Header(_message.Message):
    __slots__ = ("version_info",)
    VERSION_INFO_FIELD_NUMBER: _ClassVar[int]
    version_info: VersionInfo
    def __init__(self, version_info: _Optional[_Union[VersionInfo, _Mapping]] = ...) -> None: ...

class VersionInfo(_message.Message):
    __slots__ = ("producer",)
    PRODUCER_FIELD_NUMBER: _ClassVar[int]
    producer: str
    def __init__(self, producer: _Optional[str] = ...) -> None: ...

class Timestamp(_message.Message):
    __slots__ = ("seconds", "nanos")
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    NANOS_FIELD_NUMBER: _ClassVar[int]
    seconds: int
    nanos: int
    def __init__(self, seconds: _Optional[int] = ..., nanos: _Optional[int] = ...) -> None: ...

class Run(_message.Message):
    __slots__ = ("run_id", "entity", "project", "config", "summary", "run_group", "job_type", "display_name", "notes", "tags", "sweep_id", "host", "starting_step", "start_time", "resumed", "branch_point", "resume", "kelt_version")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    ENTITY_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    RUN_GROUP_FIELD_NUMBER: _ClassVar[int]
    JOB_TYPE_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    SWEEP_ID_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    STARTING_STEP_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    RESUMED_FIELD_NUMBER: _ClassVar[int]
    BRANCH_POINT_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    KELT_VERSION_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    entity: str
    project: str
    config: Config
    summary: Summary
    run_group: str
    job_type: str
    display_name: str
    notes: str
    tags: _containers.RepeatedScalarFieldContainer[str]
    sweep_id: str
    host: str
    starting_step: int
    start_time: Timestamp
    resumed: bool
    branch_point: BranchPoint
    resume: bool
    kelt_version: str
    def __init__(self, run_id: _Optional[str] = ..., entity: _Optional[str] = ..., project: _Optional[str] = ..., config: _Optional[_Union[Config, _Mapping]] = ..., summary: _Optional[_Union[Summary, _Mapping]] = ..., run_group: _Optional[str] = ..., job_type: _Optional[str] = ..., display_name: _Optional[str] = ..., notes: _Optional[str] = ..., tags: _Optional[_Iterable[str]] = ..., sweep_id: _Optional[str] = ..., host: _Optional[str] = ..., starting_step: _Optional[int] = ..., start_time: _Optional[_Union[Timestamp, _Mapping]] = ..., resumed: bool = ..., branch_point: _Optional[_Union[BranchPoint, _Mapping]] = ..., resume: bool = ..., kelt_version: _Optional[str] = ...) -> None: ...

class BranchPoint(_message.Message):
    __slots__ = ("run", "value", "metric")
    RUN_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    run: str
    value: float
    metric: str
    def __init__(self, run: _Optional[str] = ..., value: _Optional[float] = ..., metric: _Optional[str] = ...) -> None: ...

class Item(_message.Message):
    __slots__ = ("key", "nested_key", "value_json")
    KEY_FIELD_NUMBER: _ClassVar[int]
    NESTED_KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_JSON_FIELD_NUMBER: _ClassVar[int]
    key: str
    nested_key: _containers.RepeatedScalarFieldContainer[str]
    value_json: str
    def __init__(self, key: _Optional[str] = ..., nested_key: _Optional[_Iterable[str]] = ..., value_json: _Optional[str] = ...) -> None: ...

class Config(_message.Message):
    __slots__ = ("update", "remove")
    UPDATE_FIELD_NUMBER: _ClassVar[int]
    REMOVE_FIELD_NUMBER: _ClassVar[int]
    update: _containers.RepeatedCompositeFieldContainer[Item]
    remove: _containers.RepeatedCompositeFieldContainer[Item]
    def __init__(self, update: _Optional[_Iterable[_Union[Item, _Mapping]]] = ..., remove: _Optional[_Iterable[_Union[Item, _Mapping]]] = ...) -> None: ...

class Summary(_message.Message):
    __slots__ = ("update", "remove")
    UPDATE_FIELD_NUMBER: _ClassVar[int]
    REMOVE_FIELD_NUMBER: _ClassVar[int]
    update: _containers.RepeatedCompositeFieldContainer[Item]
    remove: _containers.RepeatedCompositeFieldContainer[Item]
    def __init__(self, update: _Optional[_Iterable[_Union[Item, _Mapping]]] = ..., remove: _Optional[_Iterable[_Union[Item, _Mapping]]] = ...) -> None: ...

class History(_message.Message):
    __slots__ = ("item", "step")
    ITEM_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    item: _containers.RepeatedCompositeFieldContainer[HistoryItem]
    step: HistoryStep
    def __init__(self, item: _Optional[_Iterable[_Union[HistoryItem, _Mapping]]] = ..., step: _Optional[_Union[HistoryStep, _Mapping]] = ...) -> None: ...

class HistoryItem(_message.Message):
    __slots__ = ("key", "nested_key", "none", "boolean", "integer", "number", "text", "json", "value_json")
    KEY_FIELD_NUMBER: _ClassVar[int]
    NESTED_KEY_FIELD_NUMBER: _ClassVar[int]
    NONE_FIELD_NUMBER: _ClassVar[int]
    BOOLEAN_FIELD_NUMBER: _ClassVar[int]
    INTEGER_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    JSON_FIELD_NUMBER: _ClassVar[int]
    VALUE_JSON_FIELD_NUMBER: _ClassVar[int]
    key: str
    nested_key: _containers.RepeatedScalarFieldContainer[str]
    none: int
    boolean: bool
    integer: int
    number: float
    text: str
    json: str
    value_json: str
    def __init__(self, key: _Optional[str] = ..., nested_key: _Optional[_Iterable[str]] = ..., none: _Optional[int] = ..., boolean: bool = ..., integer: _Optional[int] = ..., number: _Optional[float] = ..., text: _Optional[str] = ..., json: _Optional[str] = ..., value_json: _Optional[str] = ...) -> None: ...

class HistoryStep(_message.Message):
    __slots__ = ("num",)
    NUM_FIELD_NUMBER: _ClassVar[int]
    num: int
    def __init__(self, num: _Optional[int] = ...) -> None: ...

class Metric(_message.Message):
    __slots__ = ("name", "glob_name", "step_metric", "step_metric_index", "options", "summary", "goal", "expanded_from_glob")
    NAME_FIELD_NUMBER: _ClassVar[int]
    GLOB_NAME_FIELD_NUMBER: _ClassVar[int]
    STEP_METRIC_FIELD_NUMBER: _ClassVar[int]
    STEP_METRIC_INDEX_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    GOAL_FIELD_NUMBER: _ClassVar[int]
    EXPANDED_FROM_GLOB_FIELD_NUMBER: _ClassVar[int]
    name: str
    glob_name: str
    step_metric: str
    step_metric_index: int
    options: MetricOptions
    summary: MetricSummary
    goal: int
    expanded_from_glob: bool
    def __init__(self, name: _Optional[str] = ..., glob_name: _Optional[str] = ..., step_metric: _Optional[str] = ..., step_metric_index: _Optional[int] = ..., options: _Optional[_Union[MetricOptions, _Mapping]] = ..., summary: _Optional[_Union[MetricSummary, _Mapping]] = ..., goal: _Optional[int] = ..., expanded_from_glob: bool = ...) -> None: ...

class MetricOptions(_message.Message):
    __slots__ = ("step_sync", "hidden", "defined")
    STEP_SYNC_FIELD_NUMBER: _ClassVar[int]
    HIDDEN_FIELD_NUMBER: _ClassVar[int]
    DEFINED_FIELD_NUMBER: _ClassVar[int]
    step_sync: bool
    hidden: bool
    defined: bool
    def __init__(self, step_sync: bool = ..., hidden: bool = ..., defined: bool = ...) -> None: ...

class MetricSummary(_message.Message):
    __slots__ = ("min", "max", "mean", "best", "last", "none", "copy", "first")
    MIN_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    MEAN_FIELD_NUMBER: _ClassVar[int]
    BEST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    NONE_FIELD_NUMBER: _ClassVar[int]
    COPY_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    min: bool
    max: bool
    mean: bool
    best: bool
    last: bool
    none: bool
    copy: bool
    first: bool
    def __init__(self, min: bool = ..., max: bool = ..., mean: bool = ..., best: bool = ..., last: bool = ..., none: bool = ..., copy: bool = ..., first: bool = ...) -> None: ...

class Exit(_message.Message):
    __slots__ = ("exit_code", "runtime")
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    exit_code: int
    runtime: int
    def __init__(self, exit_code: _Optional[int] = ..., runtime: _Optional[int] = ...) -> None: ...

class Output(_message.Message):
    __slots__ = ("output_type", "timestamp", "line")
    OUTPUT_TYPE_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    output_type: int
    timestamp: Timestamp
    line: str
    def __init__(self, output_type: _Optional[int] = ..., timestamp: _Optional[_Union[Timestamp, _Mapping]] = ..., line: _Optional[str] = ...) -> None: ...

class Files(_message.Message):
    __slots__ = ("files",)
    FILES_FIELD_NUMBER: _ClassVar[int]
    files: _containers.RepeatedCompositeFieldContainer[FilesItem]
    def __init__(self, files: _Optional[_Iterable[_Union[FilesItem, _Mapping]]] = ...) -> None: ...

class FilesItem(_message.Message):
    __slots__ = ("path", "policy", "type")
    PATH_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    path: str
    policy: int
    type: int
    def __init__(self, path: _Optional[str] = ..., policy: _Optional[int] = ..., type: _Optional[int] = ...) -> None: ...

class Stats(_message.Message):
    __slots__ = ("timestamp", "item")
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    ITEM_FIELD_NUMBER: _ClassVar[int]
    timestamp: Timestamp
    item: _containers.RepeatedCompositeFieldContainer[StatsItem]
    def __init__(self, timestamp: _Optional[_Union[Timestamp, _Mapping]] = ..., item: _Optional[_Iterable[_Union[StatsItem, _Mapping]]] = ...) -> None: ...

class StatsItem(_message.Message):
    __slots__ = ("key", "value_json")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_JSON_FIELD_NUMBER: _ClassVar[int]
    key: str
    value_json: str
    def __init__(self, key: _Optional[str] = ..., value_json: _Optional[str] = ...) -> None: ...

class Artifact(_message.Message):
    __slots__ = ("type", "name", "description", "metadata", "aliases", "manifest", "finalize", "client_id", "base_id", "tags", "incremental_beta1")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    FINALIZE_FIELD_NUMBER: _ClassVar[int]
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    BASE_ID_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    INCREMENTAL_BETA1_FIELD_NUMBER: _ClassVar[int]
    type: str
    name: str
    description: str
    metadata: str
    aliases: _containers.RepeatedScalarFieldContainer[str]
    manifest: Manifest
    finalize: bool
    client_id: str
    base_id: str
    tags: _containers.RepeatedScalarFieldContainer[str]
    incremental_beta1: bool
    def __init__(self, type: _Optional[str] = ..., name: _Optional[str] = ..., description: _Optional[str] = ..., metadata: _Optional[str] = ..., aliases: _Optional[_Iterable[str]] = ..., manifest: _Optional[_Union[Manifest, _Mapping]] = ..., finalize: bool = ..., client_id: _Optional[str] = ..., base_id: _Optional[str] = ..., tags: _Optional[_Iterable[str]] = ..., incremental_beta1: bool = ...) -> None: ...

class Manifest(_message.Message):
    __slots__ = ("version", "contents", "manifest_file_path")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CONTENTS_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FILE_PATH_FIELD_NUMBER: _ClassVar[int]
    version: int
    contents: _containers.RepeatedCompositeFieldContainer[ManifestEntry]
    manifest_file_path: str
    def __init__(self, version: _Optional[int] = ..., contents: _Optional[_Iterable[_Union[ManifestEntry, _Mapping]]] = ..., manifest_file_path: _Optional[str] = ...) -> None: ...

class ManifestEntry(_message.Message):
    __slots__ = ("path", "digest", "ref", "size", "local_path")
    PATH_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    REF_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    LOCAL_PATH_FIELD_NUMBER: _ClassVar[int]
    path: str
    digest: str
    ref: str
    size: int
    local_path: str
    def __init__(self, path: _Optional[str] = ..., digest: _Optional[str] = ..., ref: _Optional[str] = ..., size: _Optional[int] = ..., local_path: _Optional[str] = ...) -> None: ...
