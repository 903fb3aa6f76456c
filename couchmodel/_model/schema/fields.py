"""What a model's class declares beside its fields: attachments and indexes."""

import fnmatch
import re
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, cast

from pydantic import AliasPath, Field
from pydantic.fields import FieldInfo

from couchmodel._model.schema.expressions import FieldExpression
from couchmodel.errors import AttachmentError, ConfigurationError

__all__ = ["AttachmentField", "Index", "attachment", "building"]

building: Final[ContextVar[bool]] = ContextVar("couchmodel_building", default=False)
"""Whether pydantic builds a class just now. It then asks the bases for attributes named like the fields, and would take
what a class attribute stands for here as the default of a field."""

_SIZE: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(B|KB|MB|GB|KiB|MiB|GiB)?\s*", re.IGNORECASE)
_UNITS: Final = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


class AttachmentOwner(Protocol):
    """A document that knows how to reach its attachments."""

    def __attachment__(self, field: "AttachmentField") -> Any: ...


class AttachmentField:
    """The declaration of an attachment, and the descriptor by which a document reaches it.

    To pydantic it is a field that holds CouchDB's stub, so that what a stored document says of its attachment (media
    type, length, digest) is loaded with it; being a data descriptor, this hides the stub behind the attachment.
    """

    def __init__(self, name: str | None, content_types: Sequence[str], max_size: int | str | None) -> None:
        self.name = name or ""
        self.field_name = ""
        self.content_types = tuple(content_types)
        self.max_size = None if max_size is None else parse_size(max_size)

    def declared_as(self, field_name: str) -> FieldInfo:
        """Take the name of the field; the answer is what pydantic sees in its place."""
        self.field_name = field_name
        self.name = self.name or field_name
        stub = AliasPath("_attachments", self.name)
        return cast(FieldInfo, Field(default=None, validation_alias=stub, exclude=True, repr=False, frozen=True))

    def __get__(self, document: AttachmentOwner | None, model: type) -> Any:
        if document is None:
            if building.get():
                raise AttributeError(self.field_name)
            return FieldExpression(("_attachments", self.name), dict[str, Any])
        return document.__attachment__(self)

    def __set__(self, document: object, value: object) -> None:
        raise AttributeError(f"{self.field_name!r} is not assigned but saved: await document.{self.field_name}.save(…)")

    def check_type(self, content_type: str) -> None:
        """Raise AttachmentError for a media type that the field does not take."""
        if not content_type.isprintable() or "/" not in content_type:
            said = f"{self.field_name!r} takes a media type such as 'image/png', and {content_type!r} is none"
            raise AttachmentError(said)
        kind = content_type.partition(";")[0].strip().lower()
        if self.content_types and not any(fnmatch.fnmatchcase(kind, allowed) for allowed in self.content_types):
            message = f"{self.field_name!r} takes {', '.join(self.content_types)}, not {content_type}"
            raise AttachmentError(message)

    def check_size(self, size: int) -> None:
        """Raise AttachmentError for more bytes than the field takes."""
        if self.max_size is not None and size > self.max_size:
            raise AttachmentError(f"{self.field_name!r} takes at most {self.max_size:,} bytes, not {size:,} or more")


def attachment(
    *,
    name: str | None = None,
    content_types: Sequence[str] = (),
    max_size: int | str | None = None,
    init: Literal[False] = False,  # read by type checkers: the constructor takes no attachment
) -> Any:
    """The declaration of an attachment, to stand where a field has its default.

    ``photo: Attachment = attachment(content_types=["image/*"], max_size="5 MB")`` declares one. ``name`` is what it is
    stored by, if not the field's name; ``content_types`` are media types that may end in ``/*``; ``max_size`` is a
    number of bytes, or a text with a unit (kB and MB are decimal, KiB and MiB binary). Raises ConfigurationError for a
    size that cannot be read.
    """
    return AttachmentField(name, content_types, max_size)


@dataclass(frozen=True, slots=True)
class Index:
    """A Mango index on fields of a model, by the names they are stored by; dots reach into embedded models."""

    fields: tuple[str, ...]
    name: str

    def __init__(self, *fields: str, name: str | None = None) -> None:
        if not fields:
            raise ConfigurationError("an index needs at least one field, as in Index('rating')")
        object.__setattr__(self, "fields", fields)
        object.__setattr__(self, "name", name or "-".join(fields))


def parse_size(size: int | str) -> int:
    """A number of bytes. Raises ConfigurationError for a text that is no size."""
    if isinstance(size, int):
        return size
    found = _SIZE.fullmatch(size)
    if found is None:
        raise ConfigurationError(f"{size!r} is no size: write a number of bytes, or one with a unit, such as '5 MB'")
    return int(float(found[1]) * _UNITS[(found[2] or "B").lower()])
