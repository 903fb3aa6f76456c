"""Routes as data: the pattern of a path with the handler of each method, and the tree that finds the route of a path.

A pattern is written as in Google's ``HttpRule``:

- ``{name}`` is one segment, the argument ``name``. ``{name=…}`` is an argument of several segments, with a pattern of
  its own, such as ``{id=_design/*}``.
- ``*`` is any segment, and ``x*`` is one that begins with ``x``.
- ``**`` at the end is the rest of the path, which may be empty.
- Everything else is itself. ``%2F`` is a slash within a segment.
"""

import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeAlias
from urllib.parse import unquote

from couchmodel._embedded.server.exchange import Exchange
from couchmodel._embedded.storage.database import Database
from couchmodel._wire.messages import Response
from couchmodel.errors import MethodNotAllowedError, NotFoundError

__all__ = ["Check", "Handler", "NotAllowedError", "Route", "RouteTree"]

Handler: TypeAlias = Callable[[Exchange], Awaitable[Response]]

Check: TypeAlias = Callable[[Exchange], object]
"""A function that raises an error if a request is wrong by its path."""


class NotAllowedError(MethodNotAllowedError):
    """An error 405. ``allow`` is the value of its ``Allow`` header."""

    def __init__(self, allow: str) -> None:
        super().__init__(f"Only {allow} allowed")
        self.allow = allow


class Route:
    """The handlers of the paths that match a pattern, by method.

    - The handler ``ANY`` is for all methods that have none of their own. That of GET is for HEAD too: the router drops
      the body.
    - ``allow`` is the ``Allow`` header of an error 405; by default it names the methods that have handlers.
    - ``before`` are checks that come before that of the method. By default the database has to exist.
    """

    __slots__ = ("_joined", "_single", "allow", "before", "handlers", "pattern", "segments")

    def __init__(
        self, pattern: str, *, allow: str | None = None, before: tuple[Check, ...] | None = None, **handlers: Handler
    ) -> None:
        self.pattern = pattern
        self.allow = ",".join(handlers) if allow is None else allow
        below_database = pattern.startswith("/{db}/")
        self.before = (_require_database,) if before is None and below_database else before or ()
        self.handlers = handlers
        self.segments, places = _parse_pattern(pattern)
        # Nearly all arguments are a single segment, which is taken by its index. To slice and join costs more.
        self._single = [(name, place.start) for name, place in places.items() if place.stop == place.start + 1]
        self._joined = [(name, place) for name, place in places.items() if place.stop != place.start + 1]

    def __repr__(self) -> str:
        return f"<Route {self.pattern}>"

    def arguments(self, path: tuple[str, ...]) -> dict[str, str]:
        """Return the arguments in a path that matches the pattern."""
        arguments: dict[str, str] = {}
        for name, place in self._single:  # a comprehension takes longer
            arguments[name] = path[place]
        for name, places in self._joined:
            arguments[name] = "/".join(path[places])
        return arguments

    def handler(self, method: str) -> Handler:
        """Return the handler for a method. Raises NotAllowedError if there is none."""
        handler = self.handlers.get("GET" if method == "HEAD" else method) or self.handlers.get("ANY")
        if handler is None:
            raise NotAllowedError(self.allow)
        return handler


def _parse_pattern(pattern: str) -> tuple[list[str], dict[str, slice]]:
    """Return the segments of a pattern, and the places that its arguments have in a path."""
    segments: list[str] = []
    places: dict[str, slice] = {}
    for name, inner, segment in _PART.findall(pattern) if pattern != "/" else ():
        begin = len(segments)
        segments += map(unquote, (inner or "*").split("/") if name else [segment])
        if name:
            places[name] = slice(begin, None if segments[-1] == "**" else len(segments))
    return segments, places


_PART: Final = re.compile(r"/(?:\{(\w+)(?:=([^}]+))?\}|([^/{]*))")
"""A part of a pattern: an argument with its own pattern, or a segment."""


def _require_database(exchange: Exchange) -> Database:
    return exchange.database


class RouteTree:
    """Routes as a tree of the segments of their patterns.

    Of several routes that match a path, the one whose segments are the more exact is found: a text comes before
    ``x*``, ``*`` and ``**``, in this order, from left to right.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self._root = _Node()
        for route in routes:
            self._root.add(route, route.segments)

    def find(self, path: tuple[str, ...]) -> Route:
        """Return the route of a path. Raises NotFoundError if there is none."""
        node = self._root
        for segment in path:
            # A look at one letter: most ids begin like no endpoint, so most paths need no search.
            if node.any is None or segment[:1] in node.letters:
                break
            node = node.any
        else:  # no pattern names a segment of the path, as in reads of most documents
            if node.route is not None:
                return node.route
        route = self._root.find(path, 0)
        if route is None:
            raise NotFoundError("missing")
        return route


class _Node:
    """A place between two segments.

    - ``texts``: the nodes behind the segments that patterns name; ``beginnings``: those behind ``x*``, by ``x``;
      ``any``: the one behind ``*``.
    - ``letters``: the first letters of the segments in ``texts`` and ``beginnings``.
    - ``route``: the route whose pattern ends here; ``rest``: the one whose pattern ends here in ``**``.
    """

    __slots__ = ("any", "beginnings", "letters", "rest", "route", "texts")

    def __init__(self) -> None:
        self.texts: dict[str, _Node] = {}
        self.beginnings: dict[str, _Node] = {}
        self.letters: set[str] = set()
        self.any: _Node | None = None
        self.route: Route | None = None
        self.rest: Route | None = None

    def add(self, route: Route, segments: list[str]) -> None:
        """Add a route by the segments of its pattern that are behind this node."""
        match segments:
            case []:
                self.route = route
            case ["**"]:
                self.rest = route
            case [segment, *following]:
                self._child(segment).add(route, following)

    def _child(self, segment: str) -> "_Node":
        if segment == "*":
            self.any = self.any or _Node()
            return self.any
        self.letters.add(segment[:1])
        if segment.endswith("*"):
            return self.beginnings.setdefault(segment[:-1], _Node())
        return self.texts.setdefault(segment, _Node())

    def find(self, path: tuple[str, ...], place: int) -> Route | None:
        """Return the route of a path by its segments from a place on."""
        if place == len(path):
            return self.route or self.rest
        segment = path[place]
        child = self.texts.get(segment)
        if child is not None and (route := child.find(path, place + 1)) is not None:
            return route
        for beginning, node in self.beginnings.items():
            if segment.startswith(beginning) and (route := node.find(path, place + 1)) is not None:
                return route
        if self.any is not None and (route := self.any.find(path, place + 1)) is not None:
            return route
        return self.rest
