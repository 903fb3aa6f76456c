"""Declarations of a model beside its fields: its indexes."""

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

from couchmodel.errors import ConfigurationError

__all__ = ["Index", "is_building_class"]

is_building_class: Final[ContextVar[bool]] = ContextVar("couchmodel_building", default=False)
"""True while pydantic builds a class.

pydantic then looks up the names of the fields as attributes of the base classes, and would take a field expression for
the default of a field.
"""


@dataclass(frozen=True, slots=True)
class Index:
    """A Mango index on fields of a model.

    ``fields`` are the names of the fields, or those by which they are stored; a dot leads to a field of an embedded
    model. ``name`` is the name of the index; the default is the fields with hyphens between them. ``where`` makes a
    partial index, of the documents that meet a condition: it is a selector of Mango, such as ``{"published": True}``,
    or a function of the class, such as ``lambda recipe: recipe.published == True``.
    """

    fields: tuple[str, ...]
    name: str
    where: Mapping[str, Any] | Callable[[Any], Any] | None = None

    def __init__(
        self,
        *fields: str,
        where: Mapping[str, Any] | Callable[[Any], Any] | None = None,
        name: str | None = None,
    ) -> None:
        if not fields:
            raise ConfigurationError("an index needs at least one field, as in Index('rating')")
        for field in fields:
            if not isinstance(field, str):
                raise ConfigurationError(
                    f"an index is on names of fields, as in Index('rating'), and {field!r} is none"
                )
        if where is not None and not isinstance(where, Mapping) and not callable(where):
            raise ConfigurationError(f"where= of an index is a selector, or a function of the class, not {where!r}")
        object.__setattr__(self, "fields", fields)
        object.__setattr__(self, "where", where)
        object.__setattr__(self, "name", name or "-".join(fields))
