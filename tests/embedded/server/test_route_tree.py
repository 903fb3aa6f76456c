"""The tree of routes: which pattern a path matches, and the arguments in it."""

import pytest

from couchmodel._embedded.server.route_tree import Route, RouteTree
from couchmodel.errors import NotFoundError

TREE = RouteTree(
    Route(pattern)
    for pattern in (
        "/",
        "/_up/**",
        "/{db}/{id}",
        "/{db}/{id}/{name=**}",
        "/{db}/{id=_design/*}",
        "/{db}/{id=_design%2F*}",
        "/{db}/{id=_all}/queries",
        "/{db}/_index/{name}/",
    )
)


@pytest.mark.parametrize(
    ("path", "pattern", "arguments"),
    [
        ("", "/", {}),
        ("_up", "/_up/**", {}),
        ("_up a b", "/_up/**", {}),
        ("db x", "/{db}/{id}", {"db": "db", "id": "x"}),
        ("db x y z", "/{db}/{id}/{name=**}", {"db": "db", "id": "x", "name": "y/z"}),
        ("db _design x", "/{db}/{id=_design/*}", {"db": "db", "id": "_design/x"}),
        ("db _design/x", "/{db}/{id=_design%2F*}", {"db": "db", "id": "_design/x"}),
        ("db _design/x y", "/{db}/{id}/{name=**}", {"db": "db", "id": "_design/x", "name": "y"}),
        ("db _all queries", "/{db}/{id=_all}/queries", {"db": "db", "id": "_all"}),
        ("db _all other", "/{db}/{id}/{name=**}", {"db": "db", "id": "_all", "name": "other"}),
        ("db _index x ", "/{db}/_index/{name}/", {"db": "db", "name": "x"}),
    ],
)
def test_the_most_exact_pattern_has_the_path(path: str, pattern: str, arguments: dict[str, str]) -> None:
    segments = tuple(path.split(" ")) if path else ()
    route = TREE.find(segments)
    assert (route.pattern, route.arguments(segments)) == (pattern, arguments)


def test_a_path_that_no_pattern_matches_is_missing() -> None:
    with pytest.raises(NotFoundError, match="missing"):
        TREE.find(("db",))
