"""The routes of the read API. Handlers run in worker threads: stores block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kelt_proto.v1.protocol import OURS
from kelt_server import __version__, filters
from kelt_server.access.gate import Gate
from kelt_server.api import arguments, history, output
from kelt_server.api.asking import caller_of
from kelt_server.bands import BandRequest
from kelt_server.consoles import ConsolePlace
from kelt_server.counters import Counters
from kelt_server.errors import BadRequestError
from kelt_server.metrics.store import PageRequest
from kelt_server.reader import RunReader
from kelt_server.values import to_json

PREFIX = "/api/v1"
RUNS_MAX = 1000
ROWS_MAX = 10_000
LINES_MAX = 10_000
BUCKETS_MAX = 10_000
_ROW_FIELDS = ("_step", "_timestamp", "_runtime")
_BAND_PARAMETERS = (
    "entity", "project", "run", "runs", "filters", "group_by", "keys", "key", "buckets", "min_step",
    "max_step", "quantiles", "format",
)  # fmt: skip
RUN = "/runs/{entity}/{project}/{run}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """What `/info` tells."""

    server_id: str
    grpc_port: int
    default_entity: str
    damaged_files: tuple[dict[str, str], ...]


class ReadApi:
    """Answers questions about runs, each as far as it is open to who asks."""

    def __init__(
        self, *, reader: RunReader, about: ServerFacts, counters: Counters, gate: Gate
    ) -> None:
        self._of_all = reader
        self._about = about
        self._counters = counters
        self._gate = gate

    def _reader(self, request: Request) -> RunReader:
        return self._of_all.seen_by(caller_of(request))

    def routes(self) -> list[Route]:
        """Every route, in the order in which they are tried."""
        table: list[tuple[str, Callable[[Request], Response]]] = [
            ("/info", self.info),
            ("/projects", self.projects),
            ("/runs", self.runs),
            ("/bands", self.bands),
            (RUN, self.run),
            (f"{RUN}/archived", self.archived),
            (f"{RUN}/forks", self.forks),
            (f"{RUN}/history", self.history),
            (f"{RUN}/buckets", self.buckets),
            (f"{RUN}/keys", self.keys),
            (f"{RUN}/console", self.console),
            ("/branches/{immutable_id}", self.branch),
        ]
        return [
            Route(PREFIX + path, handler, methods=["GET"], name=handler.__name__)
            for path, handler in table
        ]

    def info(self, request: Request) -> Response:
        """Who is there; open to all."""
        about = asdict(self._about) | {
            "damaged_files": list(self._about.damaged_files),
            "default_entity": caller_of(request).entity or self._about.default_entity,
            "auth_required": self._gate.wants_key(),
        }
        protocol = {"protocol": OURS.newest, "protocol_min": OURS.oldest}
        document = {"version": __version__, **protocol, **about}
        remembered = {"projects_forgotten": self._of_all.projects_forgotten}
        return _json({**document, "counters": asdict(self._counters) | remembered})

    def projects(self, request: Request) -> Response:
        """Every project."""
        return _json({"projects": self._reader(request).projects()})

    def runs(self, request: Request) -> Response:
        """Runs of a project: filtered, ordered, paged."""
        params = request.query_params
        arguments.known(
            params,
            ("entity", "project", "filters", "order", "offset", "limit", "column", "columns"),
        )
        test = filters.parse_filter(params.get("filters", ""))
        order = filters.parse_order(params.get("order") or "-created_at")
        pick = filters.parse_columns(arguments.several(params, one="column", joined="columns"))
        offset = arguments.whole(params, "offset", 0, lowest=0, highest=2**53)
        limit = arguments.whole(params, "limit", 100, lowest=0, highest=RUNS_MAX)
        runs = self._reader(request).runs(params.get("entity", ""), params.get("project") or None)
        found = order(run for run in runs if test(run))
        page = [pick(run) for run in found[offset : offset + limit]]
        return _json({"runs": page, "total": len(found)})

    def run(self, request: Request) -> Response:
        """One run."""
        return _json(self._reader(request).run(*run_of(request)).as_json())

    def branch(self, request: Request) -> Response:
        """One branch."""
        return _json(self._reader(request).branch(request.path_params["immutable_id"]).as_json())

    def archived(self, request: Request) -> Response:
        """The archived branches of a run's name."""
        views = self._reader(request).archived(*run_of(request))
        return _json({"runs": [view.as_json() for view in views]})

    def forks(self, request: Request) -> Response:
        """What was forked from a run."""
        params = request.query_params
        arguments.known(params, ("offset", "limit"))
        found = self._reader(request).forks(
            *run_of(request),
            offset=arguments.whole(params, "offset", 0, lowest=0, highest=2**53),
            limit=arguments.whole(params, "limit", 100, lowest=0, highest=RUNS_MAX),
        )
        return _json({"runs": [view.as_json() for view in found.views], "total": found.total})

    def history(self, request: Request) -> Response:
        """Rows of a run's history."""
        params = request.query_params
        arguments.known(
            params,
            (
                "keys", "key", "label", "min_step", "max_step", "limit", "after", "samples",
                "format", "stream",
            ),
        )  # fmt: skip
        keys = [key for key in arguments.keys(params) if key not in _ROW_FIELDS]
        wanted = PageRequest(
            spans=(),
            ranks={},
            metrics=keys or None,
            step_min=arguments.optional_step(params, "min_step"),
            step_max=arguments.optional_step(params, "max_step"),
            limit=arguments.whole(params, "limit", 1000, lowest=1, highest=ROWS_MAX),
        )
        if params.get("samples"):
            samples = arguments.whole(params, "samples", 500, lowest=1, highest=ROWS_MAX)
            wanted = replace(wanted, samples=samples)
        after_writer = None
        if params.get("after") and wanted.samples is None:
            after, after_writer = history.read_token(params["after"])
            wanted = replace(wanted, after=after)
        rows = self._reader(request).rows
        if arguments.is_system(params):
            page, writers = rows.system_page(run_of(request), wanted, after_writer)
        else:
            label = params.get("label", "")
            page, writers = rows.page(*run_of(request), wanted, after_writer, label=label)
        token = None if page.next is None else history.write_token(page.next, writers)
        if arguments.is_arrow(params):
            return _arrow(history.page_arrow(page, token, writers))
        return _json(history.page_json(page, token, writers))

    def buckets(self, request: Request) -> Response:
        """Minimum, maximum and mean by ranges of steps."""
        params = request.query_params
        arguments.known(
            params, ("keys", "key", "label", "buckets", "min_step", "max_step", "format", "stream")
        )
        keys = arguments.keys(params)
        if not keys:
            raise BadRequestError("no key was given; name the metrics as key=loss&key=accuracy")
        number = arguments.whole(params, "buckets", 1000, lowest=1, highest=BUCKETS_MAX)
        first = arguments.optional_step(params, "min_step")
        last = arguments.optional_step(params, "max_step")
        where, rows = run_of(request), self._reader(request).rows
        if arguments.is_system(params):
            found = rows.system_buckets(where, keys, number=number, step_min=first, step_max=last)
        else:
            label = params.get("label", "")
            found = rows.buckets(
                where, keys, number=number, step_min=first, step_max=last, label=label
            )
        if arguments.is_arrow(params):
            return _arrow(history.buckets_arrow(found))
        return _json(history.buckets_json(found, keys))

    def bands(self, request: Request) -> Response:
        """Mean and band over runs, by ranges of steps."""
        params = request.query_params
        arguments.known(params, _BAND_PARAMETERS)
        keys = arguments.keys(params)
        if not keys:
            raise BadRequestError("no key was given; name the metrics as key=loss&key=accuracy")
        if not params.get("project"):
            raise BadRequestError("no project was given; name it as project=NAME")
        quantiles = arguments.fractions(params, "quantiles", (0.25, 0.5, 0.75))
        wanted = BandRequest(
            entity=params.get("entity", ""),
            project=params["project"],
            runs=arguments.several(params, one="run", joined="runs"),
            test=filters.parse_filter(params.get("filters", "")),
            group_by=arguments.several(params, one="group_by", joined="group_by"),
            metrics=keys,
            number=arguments.whole(params, "buckets", 1000, lowest=1, highest=BUCKETS_MAX),
            step_min=arguments.optional_step(params, "min_step"),
            step_max=arguments.optional_step(params, "max_step"),
            quantiles=quantiles,
        )
        found = self._reader(request).bands(wanted)
        if arguments.is_arrow(params):
            return _arrow(history.bands_arrow(found, quantiles))
        return _json(history.bands_json(found, keys, quantiles))

    def keys(self, request: Request) -> Response:
        """Every key of a run's history."""
        params, rows = request.query_params, self._reader(request).rows
        arguments.known(params, ("label", "stream"))
        if arguments.is_system(params):
            return _json({"keys": rows.system_keys(*run_of(request))})
        label = params.get("label", "")
        return _json({"keys": rows.keys(*run_of(request), label=label)})

    def console(self, request: Request) -> Response:
        """Lines of a run's console."""
        params = request.query_params
        arguments.known(params, ("last", "limit", "after", "begin", "label", "format"))
        label = params.get("label", "")
        consoles, where = self._reader(request).consoles, run_of(request)
        if params.get("last"):
            last = arguments.whole(params, "last", 100, lowest=1, highest=LINES_MAX)
            page = consoles.tail(where, last=last, label=label)
        else:
            limit = arguments.whole(params, "limit", 1000, lowest=1, highest=LINES_MAX)
            after = ConsolePlace.read(params["after"]) if params.get("after") else None
            if params.get("begin"):
                after = ConsolePlace.read(params["begin"]).before()
            page = consoles.page(where, limit=limit, after=after, label=label)
        if arguments.is_arrow(params):
            return _arrow(output.console_arrow(page))
        return _json(output.console_json(page))


def run_of(request: Request) -> tuple[str, str, str]:
    """Which run is asked for."""
    found: dict[str, Any] = request.path_params
    return found["entity"], found["project"], found["run"]


def _json(document: Any) -> Response:
    return Response(to_json(document), media_type="application/json")


def _arrow(stream: bytes) -> Response:
    return Response(stream, media_type="application/vnd.apache.arrow.stream")
