"""Declarations of attachments: their names, and the rules for what is stored in them."""

import fnmatch
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, Protocol, cast
from weakref import WeakKeyDictionary

from pydantic import AliasChoices, AliasPath, Field
from pydantic.fields import FieldInfo

from couchmodel._model.schema.annotations import holds_several, is_attachment
from couchmodel._model.schema.expressions.field_expressions import FieldExpression
from couchmodel._model.schema.fields import is_building_class
from couchmodel._wire.multipart import names_one_type
from couchmodel.errors import AttachmentError, ConfigurationError

__all__ = ["AttachmentField", "AttachmentLabel", "attachment", "attachment_fields", "is_bad_name", "owner_of"]

_SIZE: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(B|KB|MB|GB|KiB|MiB|GiB)?\s*", re.IGNORECASE)
_UNIT_BYTES: Final = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_TYPE: Final = re.compile(r"[^\s/;*]+/([^\s/;*]+|\*)|\*/\*")


class AttachmentOwner(Protocol):
    """A document that can make the attachment objects of its fields."""

    def __attachment__(self, field: "AttachmentField") -> Any: ...


class AttachmentLabel(NamedTuple):
    """The words that name an attachment and its document in errors, and the field that has the attachment."""

    text: str
    field: str | None = None

    def __str__(self) -> str:
        return self.text

    def error(self, reason: str, *, between: str = " ") -> AttachmentError:
        """Return the error that says what is wrong with the attachment. ``between`` comes before the reason."""
        return AttachmentError(f"{self.text}{between}{reason}", field=self.field, reason=reason)


class AttachmentField:
    """The declaration of an attachment, and the descriptor that returns the attachment of a document.

    To pydantic it is a field that holds CouchDB's stub, so the media type, length and digest of the attachment are
    loaded with the document. The field of several attachments holds all stubs of the document. Because this is a data
    descriptor, it takes precedence over the stub in the document's ``__dict__``.
    """

    def __init__(
        self,
        name: str | None,
        prefix: str | None,
        content_types: Sequence[str],
        sizes: tuple[int | str | None, int | str | None],
        *,
        required: bool,
    ) -> None:
        self.name = name or ""
        self.prefix = prefix
        self.field_name = ""
        self.has_name = name is not None
        self.content_types = tuple(map(_read_type, content_types))
        self.min_size, self.max_size = (None if size is None else _read_size(size) for size in sizes)
        self.required = required

    def declare(self, field_name: str) -> FieldInfo:
        """Set the name of the field, and return the pydantic field that stands for it."""
        self.field_name = field_name
        self.name = self.name or field_name
        # By its own name too, so that a file that is given to the constructor is refused and not ignored.
        names = AliasChoices(AliasPath("_attachments", self.name), field_name)
        return cast(FieldInfo, Field(default=None, validation_alias=names, repr=False))

    def __get__(self, document: AttachmentOwner | None, model: type) -> Any:
        if document is None:
            if is_building_class.get():  # pydantic must not find a default here
                raise AttributeError(self.field_name)
            info = getattr(model, "__pydantic_fields__", {}).get(self.field_name)
            several = info is not None and holds_several(info.annotation)
            return FieldExpression(("_attachments",) if several else ("_attachments", self.name), dict[str, Any])
        return document.__attachment__(self)

    def __set__(self, document: AttachmentOwner, value: object) -> None:
        document.__attachment__(self).assign(value)

    def set_value(self, document: Any, name: str, value: object) -> None:
        """Assign a file to the attachment of a document, as pydantic sets a field."""
        if type(document).model_config.get("frozen"):
            raise AttributeError(f"{type(document).__name__}.{name} is frozen, so it cannot be assigned")
        self.__set__(document, value)

    def check_type(self, content_type: str, label: AttachmentLabel) -> None:
        """Raise AttachmentError if the field does not allow this media type. ``label`` names the attachment."""
        if not names_one_type(content_type):
            raise label.error(f"needs a media type such as 'image/png', not {content_type!r}")
        kind = content_type.partition(";")[0].strip().lower()
        if self.content_types and not any(fnmatch.fnmatchcase(kind, allowed) for allowed in self.content_types):
            allowed = " or ".join(self.content_types)
            raise label.error(f"has to be {allowed}, not {content_type}")

    def check_size(self, size: int, label: AttachmentLabel, *, is_whole: bool = True) -> None:
        """Raise AttachmentError if the field does not allow this many bytes; ``is_whole`` says that these are all."""
        if self.max_size is not None and size > self.max_size:
            more = "" if is_whole else " or more"
            raise label.error(f"may have at most {self.max_size:,} bytes, not {size:,}{more}")
        if is_whole and self.min_size is not None and size < self.min_size:
            raise label.error(f"has to have at least {self.min_size:,} bytes, not {size:,}")
        if is_whole and self.required and size == 0:
            raise label.error("is required, and cannot be empty")


def attachment(
    *,
    name: str | None = None,
    prefix: str | None = None,
    content_types: Sequence[str] = (),
    max_size: int | str | None = None,
    min_size: int | str | None = None,
    required: bool = False,
    init: Literal[False] = False,  # for type checkers: the constructor takes no attachment
) -> Any:
    """Declare an attachment, in the place of a field's default.

    ``photo: Attachment = attachment(content_types=["image/*"], max_size="5 MB")`` declares one. ``name`` is the name by
    which the attachment is stored; the default is the name of the field. ``prefix`` is for a field of the type
    :class:`Attachments`, which has all attachments whose names begin with it; without one, it has all that no other
    field declares. ``content_types`` are the allowed media types in any case, which may end in ``/*``; the default is
    all. ``max_size`` and ``min_size`` are numbers of bytes, or strings with a unit (kB and MB are decimal, KiB and MiB
    binary). A document is not saved without an attachment that is ``required``, or with an empty one.

    Raises ConfigurationError if a size or a media type cannot be read.
    """
    if isinstance(content_types, str):
        raise ConfigurationError(f"content_types is a list, as in [{content_types!r}], not a text")
    for option, given in (("name", name), ("prefix", prefix)):
        if given is not None and (not isinstance(given, str) or not given):
            raise ConfigurationError(f"{option} of an attachment is a text, not {given!r}")
    return AttachmentField(name, prefix, content_types, (min_size, max_size), required=required)


_fields: Final[WeakKeyDictionary[type, Mapping[str, AttachmentField]]] = WeakKeyDictionary()


def attachment_fields(model: type) -> Mapping[str, AttachmentField]:
    """Return the declarations of a model's attachments by the names of the fields."""
    found = _fields.get(model)
    if found is None:
        infos: Mapping[str, FieldInfo] = model.__pydantic_fields__  # type: ignore[attr-defined]
        declared = {name: _find_field(model, name) for name, info in infos.items() if is_attachment(info.annotation)}
        _fields[model] = found = {name: field for name, field in declared.items() if field is not None}
    return found


def owner_of(model: type, name: str) -> AttachmentField | None:
    """Return the declaration of the field that has the attachment of this name; None if no field has it."""
    several = None
    for field_name, field in attachment_fields(model).items():
        if not holds_several(model.__pydantic_fields__[field_name].annotation):  # type: ignore[attr-defined]
            if field.name == name:
                return field
        # A field without a prefix has what no other one has, so one with a prefix comes before it.
        elif name.startswith(field.prefix or "") and (several is None or field.prefix):
            several = field
    return several


def is_bad_name(name: object) -> bool:
    """Return True for the name of no attachment: CouchDB's own begin with an underscore, ``..`` is a step in a path."""
    if not isinstance(name, str) or not name or name.startswith("_") or not name.isprintable():
        return True
    return any(step in (".", "..") for step in name.split("/"))


def _find_field(model: type, name: str) -> AttachmentField | None:
    # ``vars`` and not ``getattr``, which would call the descriptor.
    return next((found for base in model.__mro__ if isinstance(found := vars(base).get(name), AttachmentField)), None)


def _read_type(given: object) -> str:
    if not isinstance(given, str) or not _TYPE.fullmatch(given):
        raise ConfigurationError(f"content_types has media types such as 'image/png' and 'image/*', not {given!r}")
    return given.lower()


def _read_size(size: Any) -> int:
    """Return a size as a number of bytes. Raises ConfigurationError if it cannot be read."""
    if isinstance(size, int) and not isinstance(size, bool) and size >= 0:
        return size
    found = _SIZE.fullmatch(size) if isinstance(size, str) else None
    if found is None:
        raise ConfigurationError(f"{size!r} is not a size: give a number of bytes, or a string such as '5 MB'")
    return int(float(found[1]) * _UNIT_BYTES[(found[2] or "B").lower()])
