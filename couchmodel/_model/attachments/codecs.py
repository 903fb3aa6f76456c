"""Codecs of attachments: how values of a type become bytes of a media type, and are read again.

Another type of attachment is a subclass of :class:`AttachmentBase` that names its codec.
"""

from email.message import Message
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, TypeAdapter

from couchmodel._model.attachments.files import TEXT_TYPE

__all__ = ["AttachmentCodec", "BytesCodec", "JSONCodec", "TextCodec"]

T = TypeVar("T")


class AttachmentCodec(Protocol[T]):
    """The two directions between a value and the bytes of an attachment. Both raise ValueError for what they cannot do.

    ``kind`` is the type in the brackets of the field's annotation, such as ``Exif`` of ``JSONAttachment[Exif]``; None
    if there is none.

    Long contents are decoded in a thread, and all contents if the codec has an attribute ``is_slow`` that is true.
    """

    default_type: str
    """The media type of values, unless another one is given or declared."""

    def encode(self, value: T, content_type: str, kind: Any) -> bytes:
        """Return the bytes of a value."""
        ...

    def decode(self, data: bytes, content_type: str, kind: Any) -> T:
        """Return the value of bytes."""
        ...


class BytesCodec:
    """The codec of plain bytes, which are assigned as files only."""

    default_type = ""

    def encode(self, value: bytes, content_type: str, kind: Any) -> bytes:
        """Refuse the value, as nothing tells its media type."""
        raise ValueError(f"a File(…) is assigned to it, or None, not {type(value).__name__}")

    def decode(self, data: bytes, content_type: str, kind: Any) -> bytes:
        """Return the bytes."""
        return data


class TextCodec:
    """The codec of text, in the character set that the media type names, or in UTF-8."""

    default_type = TEXT_TYPE

    def encode(self, value: str, content_type: str, kind: Any) -> bytes:
        """Return the bytes of a text."""
        if not isinstance(value, str):
            raise ValueError(f"a text or a File(…) is assigned to it, or None, not {type(value).__name__}")  # noqa: TRY004
        return value.encode(_charset(content_type))

    def decode(self, data: bytes, content_type: str, kind: Any) -> str:
        """Return the text of bytes."""
        return data.decode(_charset(content_type))


class JSONCodec:
    """The codec of a value of any type that pydantic knows, as JSON."""

    default_type = "application/json"

    def encode(self, value: BaseModel, content_type: str, kind: Any) -> bytes:
        """Return the JSON text of a value. It has to be of the type ``kind``."""
        if isinstance(kind, type) and not isinstance(value, kind):
            raise ValueError(  # noqa: TRY004
                f"one of {kind.__name__} or a File(…) is assigned to it, or None, not {type(value).__name__}"
            )
        adapter: TypeAdapter[Any] = TypeAdapter(kind)
        # Models are read by their aliases, so they are written by them.
        return adapter.dump_json(value, by_alias=True)

    def decode(self, data: bytes, content_type: str, kind: Any) -> Any:
        """Return the value of a JSON text. pydantic's ValidationError is a ValueError."""
        return TypeAdapter(kind).validate_json(data)


def _charset(content_type: str) -> str:
    # The parser of mail knows quotes and the encoded parameters of RFC 2231.
    header = Message()
    header["content-type"] = content_type
    charset = header.get_content_charset("utf-8")
    try:
        # Python also has codecs that are not for text, such as hex. They raise LookupError here.
        "".encode(charset)
    except LookupError:
        raise ValueError(f"its character set {charset!r} is not known") from None
    return charset
