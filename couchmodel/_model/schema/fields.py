"""Declarations of a model beside its fields: attachments and indexes."""

import fnmatch
import re
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, cast

from pydantic import AliasPath, Field
from pydantic.fields import FieldInfo

from couchmodel._model.schema.expressions.field_expressions import FieldExpression
from couchmodel.errors import AttachmentError, ConfigurationError

__all__ = ["AttachmentField", "Index", "attachment", "is_building_class"]

is_building_class: Final[ContextVar[bool]] = ContextVar("couchmodel_building", default=False)
"""True while pydantic builds a class.

pydantic then looks up the names of the fields as attributes of the base classes, and would take a field expression for
the default of a field.
"""

_SIZE: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(B|KB|MB|GB|KiB|MiB|GiB)?\s*", re.IGNORECASE)
_UNIT_BYTES: Final = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


class AttachmentOwner(Protocol):
    """A document that can make the attachment objects of its fields."""

    def __attachment__(self, field: "AttachmentField") -> Any: ...


class AttachmentField:
    """The declaration of an attachment, and the descriptor that returns the attachment of a document.

    To pydantic it is a field that holds CouchDB's stub, so the media type, length and digest of the attachment are
    loaded with the document. Because this is a data descriptor, it takes precedence over the stub in the document's
    ``__dict__``.
    """

    def __init__(self, name: str | None, content_types: Sequence[str], max_size: int | str | None) -> None:
        self.name = name or ""
        self.field_name = ""
        self.content_types = tuple(content_types)
        self.max_size = None if max_size is None else parse_size(max_size)

    def declare(self, field_name: str) -> FieldInfo:
        """Set the name of the field, and return the pydantic field that stands for it."""
        self.field_name = field_name
        self.name = self.name or field_name
        stub = AliasPath("_attachments", self.name)
        return cast(FieldInfo, Field(default=None, validation_alias=stub, exclude=True, repr=False, frozen=True))

    def __get__(self, document: AttachmentOwner | None, model: type) -> Any:
        if document is None:
            if is_building_class.get():  # pydantic must not find a default here
                raise AttributeError(self.field_name)
            return FieldExpression(("_attachments", self.name), dict[str, Any])
        return document.__attachment__(self)

    def __set__(self, document: object, value: object) -> None:
        name = self.field_name
        raise AttributeError(f"attachment {name!r} cannot be assigned: use `await document.{name}.save(…)`")

    def check_type(self, content_type: str) -> None:
        """Raise AttachmentError if the field does not allow this media type."""
        if not content_type.isprintable() or "/" not in content_type:
            name = self.field_name
            raise AttachmentError(f"attachment {name!r} needs a media type such as 'image/png', not {content_type!r}")
        kind = content_type.partition(";")[0].strip().lower()
        if self.content_types and not any(fnmatch.fnmatchcase(kind, allowed) for allowed in self.content_types):
            allowed = " or ".join(self.content_types)
            raise AttachmentError(f"attachment {self.field_name!r} has to be {allowed}, not {content_type}")

    def check_size(self, size: int) -> None:
        """Raise AttachmentError if the field does not allow this many bytes."""
        if self.max_size is not None and size > self.max_size:
            allowed = f"at most {self.max_size:,} bytes, not {size:,} or more"
            raise AttachmentError(f"attachment {self.field_name!r} may have {allowed}")


def attachment(
    *,
    name: str | None = None,
    content_types: Sequence[str] = (),
    max_size: int | str | None = None,
    init: Literal[False] = False,  # for type checkers: the constructor takes no attachment
) -> Any:
    """Declare an attachment, in the place of a field's default.

    ``photo: Attachment = attachment(content_types=["image/*"], max_size="5 MB")`` declares one. ``name`` is the name by
    which the attachment is stored; the default is the name of the field. ``content_types`` are the allowed media types,
    which may end in ``/*``; the default is all. ``max_size`` is a number of bytes, or a string with a unit (kB and MB
    are decimal, KiB and MiB binary). Raises ConfigurationError if the size cannot be read.
    """
    if isinstance(content_types, str):
        raise ConfigurationError(f"content_types is a list, as in [{content_types!r}], not a text")
    return AttachmentField(name, content_types, max_size)


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


def parse_size(size: int | str) -> int:
    """Return a size as a number of bytes. Raises ConfigurationError if it is a string that cannot be read."""
    if isinstance(size, int):
        return size
    found = _SIZE.fullmatch(size)
    if found is None:
        raise ConfigurationError(f"max_size={size!r} is not a size: give a number of bytes, or a string such as '5 MB'")
    return int(float(found[1]) * _UNIT_BYTES[(found[2] or "B").lower()])
