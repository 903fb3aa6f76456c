"""Places in a stored document: what an expression, an order or an assignment is about."""

from collections.abc import Iterable
from typing import Any, NamedTuple

__all__ = ["Assignment", "Ordering", "Place", "Placed", "mango_path", "place_of", "split_path"]


def mango_path(names: Iterable[str]) -> str:
    """Return the path of names in Mango's notation, with dots and backslashes inside a name escaped."""
    # CouchDB splits a path at the dots that have no backslash before them.
    return ".".join(name.replace("\\", "\\\\").replace(".", "\\.") for name in names)


def split_path(path: str) -> tuple[str, ...]:
    r"""Return the names of a path in Mango's notation, in which a dot inside a name is written ``\.``."""
    names, name, escaped = list[str](), "", False
    for character in path:
        if escaped or character not in "\\.":
            name, escaped = name + character, False
        elif character == "\\":
            escaped = True
        else:
            names.append(name)
            name = ""
    return (*names, name)


class Place(NamedTuple):
    """A place in a stored document: the names that lead to it, its type, and the model and the field that it is of.

    ``root`` is the model of the document. It is None for the id and the revision, which every model has.
    """

    names: tuple[str, ...]
    annotation: Any
    owner: tuple[type, str] | None = None
    root: type | None = None

    @property
    def path(self) -> str:
        """The path in Mango's notation, with dots and backslashes inside a name escaped."""
        return mango_path(self.names)


class Placed:
    """A field of a model, as conditions see it: it has a place. See ``FieldExpression``."""

    __slots__ = ("_place",)

    _place: Place


def place_of(field: Placed) -> Place:
    """Return the place of a field in a stored document."""
    return field._place  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - a field of an embedded model may hide any public name


class Assignment(NamedTuple):
    """A value for a field of a model: ``Recipe.rating.set(4)``."""

    place: Place
    value: Any


class Ordering(NamedTuple):
    """A field to sort by, and its direction: ``"asc"`` or ``"desc"``."""

    path: str
    direction: str = "asc"
