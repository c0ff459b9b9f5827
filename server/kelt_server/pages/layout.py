"""What all pages have: the frame, addresses, tables, and lists that are shown piece by piece."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse

from kelt_server.branch_names import Name
from kelt_server.pages.html import Child, Markup, escaped, tag
from kelt_server.pages.style import STYLE

#: Nothing is run or fetched, forms ask this server alone, and no other site shows a page within
#: its own.
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; media-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
#: Columns whose values stand to the right.
_NUMBERS = ("Rows", "Last step", "Runtime", "Size", "Versions", "Runs")
_DIGITS_MAX = 9


def page(
    title: str, parts: Iterable[Child], crumbs: Sequence[Child] = (), status: int = 200
) -> HTMLResponse:
    """A whole page."""
    trail: list[Child] = [tag("a", "kelt", href="/", class_="mark")]
    for crumb in crumbs:
        trail += [" / ", crumb]
    document = tag(
        "html",
        tag(
            "head",
            tag("meta", charset="utf-8"),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("title", f"{title} · kelt"),
            tag("style", Markup(STYLE)),
        ),
        tag("body", tag("header", trail), tag("main", tag("h1", title), parts)),
        lang="en",
    )
    return HTMLResponse(
        "<!doctype html>" + document,
        status_code=status,
        headers={"Content-Security-Policy": _POLICY},
    )


def path_of(*parts: str) -> str:
    """Names as parts of an address."""
    return "/".join(quote(part, safe="", errors="surrogatepass") for part in parts)


def project_href(entity: str, project: str, tab: str = "") -> str:
    """The address of a project's runs, or of another of its lists."""
    return f"/{path_of(*filter(None, (entity, project, tab)))}"


def run_href(run: Name) -> str:
    """The address of a run's page, by run id or immutable id."""
    return f"/{path_of(run[0], run[1], 'runs', run[2])}"


def project_crumb(entity: str, project: str) -> Markup:
    """The way back to a project."""
    return tag("a", f"{entity}/{project}", href=project_href(entity, project))


def tabs(entity: str, project: str, here: str) -> Markup:
    """The lists of a project."""
    return tag(
        "nav",
        *(
            tag("a", shown, href=project_href(entity, project, tab), class_=is_here)
            for shown, tab in (("Runs", ""), ("Artifacts", "artifacts"))
            for is_here in ("here" if tab == here else "",)
        ),
    )


def table(head: Sequence[str], rows: Sequence[Markup]) -> Markup:
    """Rows under names of columns."""
    names = [
        tag("th", name, class_="number") if name in _NUMBERS else tag("th", name) for name in head
    ]
    drawn = tag("table", tag("thead", tag("tr", names)), tag("tbody", rows), class_="listed")
    return tag("div", drawn, class_="wide")


def facts(pairs: Iterable[tuple[str, Child]]) -> Markup:
    """Names with their values; nothing of what has none."""
    return tag("dl", [[tag("dt", name), tag("dd", value)] for name, value in pairs if value])


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a list, as a page's address says it: `?runs_from=200&runs=text`.

    Attributes:
        name: of the list.
        begin: how many come before the part.
        size: how many it has at most.
        text: what each of the list contains; empty where all are wanted.
        others: what else the address says.
    """

    name: str
    begin: int
    size: int
    text: str
    others: Mapping[str, str]

    @classmethod
    def asked(cls, request: Request, name: str, size: int) -> Part:
        """What an address asks for; the beginning, where that is no number."""
        params = dict(request.query_params)
        said = params.pop(f"{name}_from", "")
        is_number = said.isascii() and said.isdigit() and len(said) <= _DIGITS_MAX
        begin = int(said) if is_number else 0
        return cls(name, begin, size, params.pop(name, ""), params)

    @property
    def end(self) -> int:
        """How many there are before what comes after the part, at most."""
        return self.begin + self.size

    def has(self, *texts: str) -> bool:
        """Whether one of an item's texts contains what is looked for."""
        wanted = self.text.casefold()
        return any(wanted in text.casefold() for text in texts)

    def links(self, total: int, noun: str) -> Markup:
        """Which part it is, and the ways to those beside it; nothing where there is one alone."""
        if self.begin == 0 and total <= self.size:
            return Markup("")
        first, last = min(self.begin + 1, total), min(self.end, total)
        parts: list[Child] = [f"{first:,} to {last:,} of {total:,} {noun}"]
        if self.begin > 0:
            parts += [" · ", self._link("before", max(0, self.begin - self.size))]
        if self.end < total:
            parts += [" · ", self._link("next", self.end)]
        return tag("p", parts, class_="quiet", id=self.name)

    def search(self, total: int, noun: str) -> Markup:
        """A field that asks for what contains a text, where there is more than one part."""
        if total <= self.size and not self.text:
            return Markup("")
        hidden = [tag("input", type="hidden", name=n, value=v) for n, v in self.others.items()]
        field = tag(
            "input", type="search", name=self.name, value=self.text, aria_label=f"find {noun}",
            placeholder=f"find among {total:,} {noun}",
        )  # fmt: skip
        return tag("form", hidden, field)

    def _link(self, shown: str, begin: int) -> Markup:
        said = {**self.others, f"{self.name}_from": str(begin)}
        if self.text:
            said[self.name] = self.text
        href = f"?{urlencode(said, errors='surrogatepass')}#{self.name}"
        return tag("a", shown, href=href)


def folded(shown: str, hidden: Child) -> Markup:
    """What is seen once somebody asks for it."""
    return escaped(tag("details", tag("summary", shown), hidden))
