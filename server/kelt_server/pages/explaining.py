"""Pages that say why there is none."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response

from kelt_server.errors import ForbiddenError, NotFoundError, RunDeletedError
from kelt_server.pages.html import tag
from kelt_server.pages.layout import page, project_crumb

Handler = Callable[[Request], Response]


def explained(handler: Handler) -> Handler:
    """A page that says why there is none, where its handler does."""

    def answer(request: Request) -> Response:
        try:
            return handler(request)
        except ForbiddenError as error:
            return page("Not open to you", [tag("p", str(error))], status=403)
        except (NotFoundError, RunDeletedError) as error:
            named = request.path_params
            crumbs = [project_crumb(named["entity"], named["project"])] if named else []
            return page("Not here", [tag("p", str(error))], crumbs, status=404)

    return answer
