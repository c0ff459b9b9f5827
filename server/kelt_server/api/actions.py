"""The routes by which somebody acts on a run."""

from __future__ import annotations

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kelt_server.api.asking import caller_of
from kelt_server.api.routes import PREFIX
from kelt_server.branch_names import Name
from kelt_server.errors import BadRequestError, NotRunningError
from kelt_server.reader import RunReader
from kelt_server.run_actions import RunActions
from kelt_server.run_view import RunView
from kelt_server.values import to_json

_RUN = PREFIX + "/runs/{entity}/{project}/{run}"


class ActionApi:
    """Acts on runs that are open to who asks."""

    def __init__(self, *, actions: RunActions, reader: RunReader) -> None:
        self._actions = actions
        self._of_all = reader

    def routes(self) -> list[Route]:
        """Every route."""
        return [
            Route(_RUN, self.delete, methods=["DELETE"], name="delete"),
            Route(f"{_RUN}/stop", self.stop, methods=["POST"], name="stop"),
        ]

    async def delete(self, request: Request) -> Response:
        """A run goes."""
        view = await self._view(request)
        if view.is_archived:
            raise BadRequestError(
                f"{view.line.branch.branch_id} is an archived branch of {view.line.branch.run_id}; "
                "it goes with the run"
            )
        name: Name = view.line.branch.name
        deletion = await self._actions.delete(name, caller_of(request))
        entity, project, run_id = name
        return _json(
            {
                "entity": entity,
                "project": project,
                "run_id": run_id,
                "branches": len(deletion.former_ids),
                "kept_for_others": deletion.kept,
            }
        )

    async def stop(self, request: Request) -> Response:
        """A run's processes are asked to stop."""
        view = await self._view(request)
        entity, project, run_id = name = view.line.branch.name
        number = await self._actions.stop(name, caller_of(request))
        if not number:
            raise NotRunningError(f"{run_id} is {view.state.state}, and nothing of it runs")
        return _json({"entity": entity, "project": project, "run_id": run_id, "asked": number})

    async def _view(self, request: Request) -> RunView:
        found = request.path_params
        reader = self._of_all.seen_by(caller_of(request))
        return await anyio.to_thread.run_sync(
            reader.run, found["entity"], found["project"], found["run"]
        )


def _json(document: object) -> Response:
    return Response(to_json(document), media_type="application/json")
