"""What the schema's queries and mutations do. Called in a worker thread, as stores block."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from mimetypes import guess_type
from typing import Any

import anyio.from_thread

from kelt_server.access.callers import Caller
from kelt_server.branch_names import Name
from kelt_server.errors import BadRequestError, NotFoundError
from kelt_server.reader import RunReader
from kelt_server.run_actions import RunActions
from kelt_server.wandb_api import run_answers, run_filters
from kelt_server.wandb_api.arguments import connection
from kelt_server.wandb_api.arguments import cursor as _cursor
from kelt_server.wandb_api.arguments import given as _given
from kelt_server.wandb_api.arguments import input_of as _input
from kelt_server.wandb_api.arguments import json_of as _json
from kelt_server.wandb_api.arguments import limit as _limit
from kelt_server.wandb_api.arguments import step as _step
from kelt_server.wandb_api.arguments import text as _text
from kelt_server.wandb_api.artifact_changes import ArtifactChanges
from kelt_server.wandb_api.door import Door
from kelt_server.wandb_api.file_addresses import FileAddresses
from kelt_server.wandb_api.histories import HistoryAnswers
from kelt_server.wandb_api.output_answers import output_fields
from kelt_server.wandb_api.uploads import UploadFolder
from kelt_server.wandb_api.upserts import Upsert, read_upsert, rewind_step

_RUNS_MAX = 1000
_FILES_MAX = 10_000
_CURSOR_CHARS_MAX = 16
_FEATURES = ("FILESTREAM_GZIP",)
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
NAME_CHARS_MAX = 1024

_Resolver = Callable[..., Any]


class Answers:
    """The root of one execution. Methods are named as the schema's fields."""

    def __init__(
        self,
        *,
        door: Door,
        actions: RunActions,
        reader: RunReader,
        uploads: UploadFolder,
        addresses: FileAddresses,
        artifacts: ArtifactChanges,
        caller: Caller,
        base: str,
        client: str,
    ) -> None:
        self._door = door
        self._actions = actions
        self._reader = reader
        self._uploads = uploads
        self._addresses = addresses
        self._artifacts = artifacts
        self._caller = caller
        self._base = base
        self._client = client

    def __getattr__(self, field: str) -> Any:
        """What is said of artifacts is answered elsewhere."""
        return getattr(self._artifacts, field)

    # -- queries --------------------------------------------------------------------------------

    def viewer(self, _info: object) -> dict[str, Any]:
        """Who asks; without users, the server's entity."""
        caller, entity = self._caller, self._caller.entity
        teams = [{"node": {"id": name, "name": name}} for name in (entity, *caller.teams)]
        return {
            "id": entity, "name": entity, "entity": entity, "username": entity, "email": "",
            "flags": "{}", "admin": caller.is_admin, "deletedAt": None, "apiKeys": None,
            "teams": {"edges": teams},
        }  # fmt: skip

    def serverInfo(self, _info: object) -> dict[str, Any]:  # noqa: N802 # the schema's
        """What clients need not ask for again; a feature that is not named is off."""
        return {
            "features": [{"name": name, "isEnabled": True} for name in _FEATURES],
            "cliVersionInfo": {"max_cli_version": "99.0.0"},
            "latestLocalVersionInfo": None,
        }

    def entity(self, _info: object, **given: Any) -> dict[str, Any]:
        """An entity is a name; it belongs to no organization."""
        name = self._entity(_given(given).get("name"))
        return {"id": name, "name": name, "organization": None, "user": None}

    def project(self, _info: object, **given: Any) -> dict[str, Any]:
        """A project, whether there are runs in it or not."""
        said = _given(given)
        entity = self._entity(said.get("entityName"))
        project = _text(said.get("name")) or run_answers.PROJECT_DEFAULT
        return {
            **run_answers.project_fields(entity, project),
            "internalId": str(run_answers.project_number(entity, project)),
            "createdAt": run_answers.iso(0.0),
            "bucket": self._one_run(entity, project, is_to_resume=True),
            "run": self._one_run(entity, project),
            "runCount": self._run_count(entity, project),
            "runs": self._runs(entity, project),
            **self._artifacts.of_project(entity, project),
        }

    model = project

    def models(self, _info: object, **given: Any) -> dict[str, Any]:
        """Every project of an entity."""
        entity = self._entity(_given(given).get("entityName"))
        found = [
            {
                "__typename": "Project",
                **run_answers.project_fields(entity, item["project"]),
                "createdAt": run_answers.iso(item["last_started_at"]),
                "isBenchmark": False,
                "user": None,
            }
            for item in self._reader.projects()
            if item["entity"] == entity
        ]
        page_info = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
        return {"edges": [{"node": node, "cursor": ""} for node in found], "pageInfo": page_info}

    def _one_run(self, entity: str, project: str, *, is_to_resume: bool = False) -> _Resolver:
        def resolve(_info: object, **given: Any) -> dict[str, Any] | None:
            name = entity, project, _text(_given(given).get("name"))
            try:
                run = self._reader.run(*name).as_json()
            except NotFoundError:
                return None
            if is_to_resume:
                self._door.expect_resume(name)
            return self._run(run)

        return resolve

    def _run_count(self, entity: str, project: str) -> _Resolver:
        def resolve(_info: object, **given: Any) -> int:
            test = run_filters.parse_filters(_given(given).get("filters"))
            return sum(1 for run in self._reader.runs(entity, project) if test(run))

        return resolve

    def _runs(self, entity: str, project: str) -> _Resolver:
        def resolve(_info: object, **given: Any) -> dict[str, Any]:
            said = _given(given)
            test = run_filters.parse_filters(said.get("filters"))
            order = run_filters.parse_order(said.get("order"))
            found = order(run for run in self._reader.runs(entity, project) if test(run))
            start = _cursor(said.get("after"))
            stop = start + _limit(said.get("first"), 50, _RUNS_MAX)
            nodes = [self._run(run) for run in found[start:stop]]
            return connection(nodes, start=start, total=len(found))

        return resolve

    def _run(self, run: Mapping[str, Any]) -> dict[str, Any]:
        name = run["entity"], run["project"], run["run_id"]
        rows = HistoryAnswers(self._reader, name)

        def lines(_info: object, **given: Any) -> list[str]:
            said = _given(given)
            first, end = _step(said.get("minStep")), _step(said.get("maxStep"))
            is_page = first is not None or end is not None
            return rows.lines(
                step_min=first,
                step_end=end,
                limit=_limit(said.get("samples"), 500, 50_000),
                is_sample=not is_page,
            )

        def sampled(_info: object, **given: Any) -> list[list[dict[str, Any]]]:
            specs = _given(given).get("specs")
            read = [
                _json(spec, "spec of a sample") if isinstance(spec, str) else spec
                for spec in (specs if isinstance(specs, list) else ())
            ]
            return [rows.sampled(spec) for spec in read if isinstance(spec, dict)]

        return {
            **run_answers.run_fields(
                run, run_answers.project_number(run["entity"], run["project"])
            ),
            "history": lines,
            **output_fields(self._reader, name, rows),
            "sampledHistory": sampled,
            "parquetHistory": lambda _info, **_given: {
                "parquetUrls": [],
                "liveData": [{"_step": step} for step in rows.ends(run["last_step"])],
            },
            "historyKeys": lambda _info: run_answers.history_keys(
                self._reader.rows.kinds(*name), run
            ),
            "files": self._files(name),
            **self._artifacts.of_run(name),
        }

    def _files(self, name: Name) -> _Resolver:
        def resolve(_info: object, **given: Any) -> dict[str, Any]:
            said = _given(given)
            wanted = said.get("names") or None
            sizes = {file.name: file.size_bytes for file in self._reader.files.all(name)}
            sizes |= dict(self._uploads.names(name))  # what a client put came by itself
            found = [
                self._file(name, file, sizes[file])
                for file in sorted(sizes)
                if wanted is None or file in wanted
            ]
            start = _cursor(said.get("after"))
            stop = start + _limit(said.get("first"), 50, _FILES_MAX)
            return connection(found[start:stop], start=start, total=len(found))

        return resolve

    def _file(self, name: Name, file: str, size: int) -> dict[str, Any]:
        direct = self._addresses.signed(self._base, "GET", name, file, key_id=self._caller.key_id)
        return {
            "id": run_answers.file_id(name, file),
            "name": file, "url": self._addresses.keyed(self._base, name, file),
            "directUrl": direct, "sizeBytes": size,
            "mimetype": guess_type(file)[0] or "application/octet-stream",
            "updatedAt": None, "md5": None,
        }  # fmt: skip

    # -- mutations ------------------------------------------------------------------------------

    def upsertBucket(self, _info: object, **given: Any) -> dict[str, Any]:  # noqa: N802
        """A run begins, or more is said of it."""
        said = _input(given)
        upsert = read_upsert(said)
        if upsert.storage_id and not upsert.run_id:
            return self._edit(upsert, said)
        run_id = upsert.run_id or "".join(secrets.choice(_ALPHABET) for _ in range(8))
        name = self._name(upsert.entity, upsert.project, run_id)
        lines = anyio.from_thread.run(self._door.upsert, name, upsert, self._client)
        entity, project, _ = name
        return {
            "inserted": not upsert.storage_id,
            "serverSettings": {"serverMessages": []},
            "bucket": {
                "id": run_answers.storage_id(name),
                "name": run_id,
                "displayName": upsert.texts.get("name") or run_id,
                "description": None,
                "sweepName": None,
                "config": None,
                "historyLineCount": lines,
                "project": run_answers.project_fields(entity, project),
            },
        }

    def _edit(self, upsert: Upsert, said: Mapping[str, Any]) -> dict[str, Any]:
        name = self._name(*run_answers.named_by(upsert.storage_id))
        by_hand = None
        if isinstance(said.get("summaryMetrics"), str):
            by_hand = _json(said["summaryMetrics"], "summary")
            if not isinstance(by_hand, dict):
                raise BadRequestError("the summary is no object")
        anyio.from_thread.run(self._door.edit, name, upsert, by_hand)
        return {"inserted": False, "bucket": self._run(self._reader.run(*name).as_json())}

    def rewindRun(self, _info: object, **given: Any) -> dict[str, Any]:  # noqa: N802
        """Tells how a run stood at a step; it moves with the first row of its next session.

        A run that is not known is rewound as well: it may come.
        """
        said = _input(given)
        step, run_id = rewind_step(said), _text(said.get("runName"))
        name = self._name(_text(said.get("entityName")), _text(said.get("projectName")), run_id)
        try:
            run = self._reader.run(*name).as_json()
        except NotFoundError:
            known: dict[str, Any] = {"config": "{}", "displayName": run_id}
            rows = 0
        else:
            known, rows = self._run(run), run["rows"]
        anyio.from_thread.run(self._door.rewind, name, step)
        return {
            "rewoundRun": {
                "id": run_answers.storage_id(name),
                "name": run_id,
                "displayName": known["displayName"],
                "description": None,
                "config": known["config"],
                "sweepName": None,
                "historyLineCount": max(0, min(rows, step + 1)),
                "project": run_answers.project_fields(name[0], name[1]),
            }
        }

    def createRunFiles(self, _info: object, **given: Any) -> dict[str, Any]:  # noqa: N802
        """An address for each file."""
        said = _input(given)
        name = self._name(
            _text(said.get("entityName")), _text(said.get("projectName")),
            _text(said.get("runName")),
        )  # fmt: skip
        anyio.from_thread.run(self._door.check_begun, name)
        given_files = said.get("files")
        names = given_files if isinstance(given_files, list) else []

        def address(file: str) -> str:
            key_id = self._caller.key_id
            return self._addresses.signed(self._base, "PUT", name, file, key_id=key_id)

        return {
            "runID": run_answers.storage_id(name),
            "uploadHeaders": [],
            "files": [{"name": file, "uploadUrl": address(file)} for file in map(str, names)],
        }

    def markRunFilesUploaded(self, _info: object, **_given: Any) -> dict[str, Any]:  # noqa: N802
        """Known from the files themselves."""
        return {"success": True}

    def deleteRun(self, _info: object, **given: Any) -> dict[str, Any]:  # noqa: N802
        """A run goes, with all branches of its name and its files, and artifacts if it is said."""
        said = _input(given)
        name = self._name(*run_answers.named_by(_text(said.get("id"))))
        logged = self._artifacts.logged_by(name) if said.get("deleteArtifacts") is True else []
        anyio.from_thread.run(self._actions.delete, name, self._caller)
        self._artifacts.delete_all(logged)
        return {"clientMutationId": said.get("clientMutationId")}

    def stopRun(self, _info: object, **given: Any) -> dict[str, Any]:  # noqa: N802
        """A run's processes are asked to stop; one that does not run is left as it is."""
        said = _input(given)
        name = self._name(*run_answers.named_by(_text(said.get("id"))))
        anyio.from_thread.run(self._actions.stop, name, self._caller)
        return {"clientMutationId": said.get("clientMutationId"), "success": True}

    def deleteFiles(self, _info: object, **given: Any) -> dict[str, Any]:  # noqa: N802
        """Files of runs go."""
        files = _input(given).get("files")
        for file_id in files if isinstance(files, list) else ():
            name, file = run_answers.file_named_by(_text(file_id))
            self._uploads.remove(self._name(*name), file)
        return {"success": True}

    def upsertModel(self, _info: object, **given: Any) -> dict[str, Any]:  # noqa: N802
        """A project is there when a run is."""
        said = _input(given)
        found = run_answers.project_fields(
            self._entity(said.get("entityName")),
            _text(said.get("name")) or run_answers.PROJECT_DEFAULT,
        )
        return {"model": found, "project": found, "inserted": False}

    def _entity(self, said: object) -> str:
        return self._caller.check(_text(said))

    def _name(self, entity: str, project: str, run_id: str) -> Name:
        """The name of a run, if its entity is open to who asks."""
        name = self._entity(entity), project or run_answers.PROJECT_DEFAULT, run_id
        for part in name:
            if not part or len(part) > NAME_CHARS_MAX or "\0" in part:
                raise BadRequestError(f"{part[:100]!r} cannot be the name of anything")
        return name
