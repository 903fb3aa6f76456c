"""Attachments that are pictures of Pillow, which the extra ``images`` installs."""

import io
from typing import TYPE_CHECKING, Any, Self, overload

from couchmodel._model.attachments.base import AttachmentBase
from couchmodel._model.attachments.files import File
from couchmodel._model.schema.expressions.field_expressions import FieldExpression
from couchmodel.errors import ConfigurationError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["ImageAttachment"]


class ImageCodec:
    """The codec of pictures, in the format that the media type names."""

    default_type = "image/png"
    is_slow = True
    """A picture of a few kilobytes may unpack to millions of pixels, so all are decoded in a thread."""

    def encode(self, value: "Image", content_type: str, kind: Any) -> bytes:
        """Return the bytes of a picture. Raises ValueError for another value, and if Pillow cannot write the type."""
        pillow = _import_pillow()
        if not isinstance(value, pillow.Image):
            raise ValueError(f"a picture or a File(…) is assigned to it, or None, not {type(value).__name__}")  # noqa: TRY004
        # Pillow registers all its formats only here. Before, it knows the most common ones.
        pillow.init()
        wanted = content_type.partition(";")[0].strip().lower()
        formats = [name for name, kind in pillow.MIME.items() if kind == wanted and name in pillow.SAVE]
        if not formats:
            raise ValueError(f"Pillow writes no pictures of the type {content_type!r}")
        buffer = io.BytesIO()
        try:
            value.save(buffer, formats[0])
        except OSError as error:
            raise ValueError(str(error)) from error
        return buffer.getvalue()

    def decode(self, data: bytes, content_type: str, kind: Any) -> "Image":
        """Return the picture of bytes. Raises ValueError if they are none, or one that is too large to be unpacked."""
        pillow = _import_pillow()
        try:
            picture: Image = pillow.open(io.BytesIO(data))
            # ``open`` reads the header only. The pixels of a broken picture fail here, and not when they are used.
            picture.load()
        except pillow.UnidentifiedImageError:
            raise ValueError(f"Pillow reads no such picture of the type {content_type!r}") from None
        except (OSError, pillow.DecompressionBombError) as error:
            raise ValueError(str(error)) from error
        return picture


class ImageAttachment(AttachmentBase["Image"], codec=ImageCodec()):
    """A picture: ``photo: ImageAttachment = attachment()``. A ``PIL.Image.Image`` can be assigned to it.

    It is written as PNG, unless the field allows one other type only. It takes ``couchmodel[images]``.
    """

    if TYPE_CHECKING:

        @overload
        def __get__(self, instance: None, owner: Any) -> FieldExpression[dict[str, Any]]: ...
        @overload
        def __get__(self, instance: object, owner: Any) -> Self: ...
        def __get__(self, instance: Any, owner: Any) -> Any: ...
        def __set__(self, instance: Any, value: File | Image | None) -> None: ...


def _import_pillow() -> Any:
    try:
        import PIL.Image  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ConfigurationError(
            "pictures of attachments need an extra that is not installed: pip install 'couchmodel[images]'"
        ) from error
    return PIL.Image
