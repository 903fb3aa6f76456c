"""Thumbnails of photos."""

import io
from typing import Final

from PIL import Image, ImageOps

from couchmodel import AttachmentError

_SIZE: Final = (640, 480)


def shrink(photo: bytes) -> bytes:
    """Return a photo as a small JPEG. Raises AttachmentError if it is no picture that can be read."""
    try:
        with Image.open(io.BytesIO(photo)) as picture:
            picture.draft("RGB", (2 * _SIZE[0], 2 * _SIZE[1]))  # a JPEG is decoded no larger than that
            small = ImageOps.fit(ImageOps.exif_transpose(picture).convert("RGB"), _SIZE)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        reason = "is not a picture that can be read"
        raise AttachmentError(f"the photo {reason}", field="photo", reason=reason) from error
    stored = io.BytesIO()
    small.save(stored, "JPEG", quality=82, optimize=True)
    return stored.getvalue()
