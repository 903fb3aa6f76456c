"""Declarations of views: what cannot work is told when the class is made."""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, ClassVar

import pytest

from couchmodel import ConfigurationError, CouchModel, Field, Link, Links, Mapped, Stats, View
from couchmodel._model.views.definition import design_documents, view_of
from tests.model.views.models import Author, Book, Novel


class Base(CouchModel, database="views", type="base"):
    title: Mapped[str]
    author: Link[Author]
    readers: Links[Author] = Field(default_factory=list)
    published: Mapped[date]
    pages: Mapped[int] = Field(default=0)
    tags: Mapped[list[str]] = Field(default_factory=list)


def make(annotation: Any, declare: Callable[[], Any]) -> None:
    """Make a model with a view of this annotation."""
    namespace = {"__module__": __name__, "__qualname__": "Made", "__annotations__": {"view": annotation}}
    metaclass: Any = type(Base)
    metaclass("Made", (Base,), {**namespace, "view": declare()}, type="made")


@pytest.mark.parametrize(
    ("annotation", "declare", "said"),
    [
        (View[str, None, None], lambda: View(key="titel"), r"Made.view is on an unknown field.*'titel'.*'title'"),
        (View[int, None, None], lambda: View(key="title"), r"write `view: ClassVar\[View\[str, None, None\]\]`"),
        (View[str, None, None], lambda: View(key=("title",)), r"View\[tuple\[str\], None, None\]"),
        (View[str, int, None], lambda: View(key="title"), r"View\[str, None, None\]"),
        (View[str, str, None], lambda: View(key="title", value="pages"), r"View\[str, int, None\]"),
        (View[str, None, Stats], lambda: View(key="title", reduce="_count"), r"View\[str, None, int\]"),
        (View[int, None, None], lambda: View(key="author"), r"View\[str, None, None\]"),
        (View[str, None, None], lambda: View(key="tags"), r"View\[list\[str\], None, None\]"),
        (View[str, None, None], lambda: View(key="title", each=True), "each=True needs one field of the key"),
        (View[str, Any, Any], lambda: View(key="title", value="published", reduce="_sum"), "'published' is no number"),
        (View, lambda: View(key="title"), "the types of its keys, its values and its groups"),
        (View[str, None, None], lambda: View(key="title", where=lambda made: made.titel == "x"), "Made.view: .*titel"),
        (View[str, None, None], lambda: View(key="title", where={"title": {"$regex": "x"}}), "cannot be declared"),
        (View[str, None, None], lambda: View(key="title.x"), "str, which has no members"),
        (View[str, None, None], lambda: View(map=Path("missing.js")), r"missing.js cannot be read"),
    ],
)
def test_a_declaration_that_does_not_fit_its_fields_is_refused(
    annotation: Any, declare: Callable[[], Any], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        make(ClassVar[annotation], declare)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "has a key"),
        ({"key": "title", "map": "function (doc) {}"}, "has a key"),
        ({"key": ()}, "at least one field"),
        ({"key": "title", "reduce": "_stats"}, "give value="),
        ({"key": "title", "reduce": "_first"}, "reduced by '_count', '_sum', '_stats', not '_first'"),
        ({"map": "function (doc) {}", "each": True}, "belong to a key"),
        ({"map": "function (doc) {}", "reduce": "_cuont"}, "no reduce function that CouchDB has"),
        ({"key": "title", "where": 5}, "where is a selector"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        View(**options)


def test_a_view_is_a_class_variable() -> None:
    with pytest.raises(ConfigurationError, match="a view is a class variable"):
        make(View[str, None, None], lambda: View(key="title"))


@pytest.mark.parametrize(
    ("annotation", "declare"),
    [
        (View[Any, Any, Any], lambda: View(key="title")),
        (View[tuple[str, date], float, Stats], lambda: View(("author", "published"), value="pages", reduce="_stats")),
        (View[str, None, int], lambda: View(key="readers", each=True, reduce="_count")),
        (View[str | int, None, None], lambda: View(key="title")),
        (View[str, None, None], lambda: View(key="id")),
        (View[str, str, None], lambda: View(key="id", value="type")),
        (View[list[str], None, None], lambda: View(key="tags")),
    ],
)
def test_a_wider_type_fits(annotation: Any, declare: Callable[[], Any]) -> None:
    make(ClassVar[annotation], declare)


def test_versions_have_design_documents_of_their_own() -> None:
    assert design_documents(Book).keys().isdisjoint(design_documents(Novel))
    before = view_of(Book, "by_tag").design

    class Comic(Book, type="comic"):
        """A kind that is defined later is among the books."""

    assert view_of(Book, "by_tag").design != before
    assert view_of(Comic, "by_tag").stored["couchmodel"]["where"] == ["in", ["type"], ["comic"]]
