"""The types of attachments that fields can have."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar, overload

from pydantic import BaseModel

from couchmodel._model.attachments.base import AttachmentBase, AttachmentType, FindRepository
from couchmodel._model.attachments.codecs import JSONCodec, TextCodec
from couchmodel._model.attachments.files import File
from couchmodel._model.attachments.info import AttachmentInfo
from couchmodel._model.attachments.rules import label_of
from couchmodel._model.schema import state
from couchmodel._model.schema.annotations import bare_type
from couchmodel._model.schema.attachments import AttachmentField, AttachmentLabel, is_bad_name, owner_of
from couchmodel._model.schema.base import DocumentModel
from couchmodel._model.schema.expressions.field_expressions import FieldExpression
from couchmodel.types import JSONObject

__all__ = ["Attachment", "Attachments", "JSONAttachment", "TextAttachment", "attachment_of"]

E = TypeVar("E", bound=BaseModel)


class Attachment(AttachmentBase[bytes]):
    """An attachment of bytes: ``photo: Attachment = attachment()``."""


class TextAttachment(AttachmentBase[str], codec=TextCodec()):
    """An attachment of text: ``notes: TextAttachment = attachment()``. A ``str`` can be assigned to it."""

    if TYPE_CHECKING:
        # Both methods again: pyright compares those of one class, and would take a text for the attachment.

        @overload
        def __get__(self, instance: None, owner: Any) -> FieldExpression[dict[str, Any]]: ...
        @overload
        def __get__(self, instance: object, owner: Any) -> Self: ...
        def __get__(self, instance: Any, owner: Any) -> Any: ...
        def __set__(self, instance: Any, value: File | str | None) -> None: ...


class JSONAttachment(AttachmentBase[E], Generic[E], codec=JSONCodec()):
    """An attachment of a model as JSON: ``exif: JSONAttachment[Exif] = attachment()``. An ``Exif`` can be assigned.

    The model is written when it is assigned, so later changes of it are not stored.
    """

    if TYPE_CHECKING:

        @overload
        def __get__(self, instance: None, owner: Any) -> FieldExpression[dict[str, Any]]: ...
        @overload
        def __get__(self, instance: object, owner: Any) -> Self: ...
        def __get__(self, instance: Any, owner: Any) -> Any: ...
        def __set__(self, instance: Any, value: File | E | None) -> None: ...


class Attachments(AttachmentType, Mapping[str, Attachment]):
    """The attachments of a document under a prefix, by the rest of their names: ``pages: Attachments = attachment()``.

    Names can be assigned and deleted, and are iterated over, with those that are assigned and not saved yet. A name
    that there is not yet returns an attachment that can be saved.
    """

    __holds_several__: ClassVar[bool] = True
    __info__: ClassVar[Any] = dict[str, AttachmentInfo | None]

    def __init__(self, document: DocumentModel, field: AttachmentField, find: FindRepository) -> None:
        self._document = document
        self._field = field
        self._find = find

    if TYPE_CHECKING:

        @overload
        def __get__(self, instance: None, owner: Any) -> FieldExpression[dict[str, Any]]: ...
        @overload
        def __get__(self, instance: object, owner: Any) -> Self: ...
        def __get__(self, instance: Any, owner: Any) -> Any: ...

    def __repr__(self) -> str:
        return f"<Attachments {', '.join(self)} of {self._document.id}>"

    def __getitem__(self, name: str) -> Attachment:
        stored = f"{self._prefix}{name}"
        if (
            not isinstance(name, str)
            or not name
            or is_bad_name(stored)
            or owner_of(type(self._document), stored) is not self._field
        ):
            label = label_of(self._document, self._field, stored)
            raise label.error("cannot have this name, which is reserved, a path, or another field's")
        return Attachment(self._document, self._field, stored, self._find)

    def __setitem__(self, name: str, file: File) -> None:
        self[name].assign(file)

    def __delitem__(self, name: str) -> None:
        if name not in self:
            raise KeyError(name)
        self[name].assign(None)

    def __contains__(self, name: object) -> bool:
        # Mapping would ask ``self[name]``, which has an attachment for a name that there is not yet.
        return any(name == each for each in self._names())

    def __iter__(self) -> Iterator[str]:
        return self._names()

    def __len__(self) -> int:
        return sum(1 for _ in self._names())

    def _names(self) -> Iterator[str]:
        files = state.assigned_files(self._document)
        stubs: JSONObject = vars(self._document).get(self._field.field_name) or {}
        for name in dict.fromkeys((*stubs, *files)):
            # None stands for an attachment that is to be removed, any other default for one that is left as it is.
            if owner_of(type(self._document), name) is self._field and files.get(name, "") is not None:
                yield name.removeprefix(self._prefix)

    def get(self, name: str, default: Any = None) -> Any:
        """Return the attachment of a name, or ``default`` if there is none."""
        return self[name] if name in self._names() else default

    def assign(self, value: object) -> None:
        """Refuse the assignment of all attachments at once."""
        name = self._field.field_name
        label = AttachmentLabel(f"attachments {name!r} of {self._document.id!r}", name)
        raise label.error(f"are assigned one by one: {name}['…'] = …")

    def info(self) -> dict[str, AttachmentInfo | None]:
        """Return what a dump of the document shows of each attachment."""
        return {name: self[name].info() for name in self}

    @property
    def _prefix(self) -> str:
        return self._field.prefix or ""


def attachment_of(document: DocumentModel, field: AttachmentField, find: FindRepository) -> Any:
    """Return the attachment of a document, of the type that the field is annotated with."""
    annotation = bare_type(type(document).__pydantic_fields__[field.field_name].annotation)
    # ``JSONAttachment[Exif]`` is an alias, whose origin is the class.
    kind: Any = getattr(annotation, "__origin__", annotation)
    return kind(document, field, find) if kind.__holds_several__ else kind(document, field, field.name, find)
