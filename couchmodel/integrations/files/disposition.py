"""How a browser shows a file: in its window, or as a download under a name."""

import re
from collections.abc import Collection
from typing import Final
from urllib.parse import quote

__all__ = ["content_disposition"]

_SAFE: Final = re.compile(
    r"(image/(?!svg)|audio/|video/|font/)[\w.+-]+|text/(plain|csv)|application/(pdf|json)", re.ASCII
)
"""The types that a browser may show. Others, as HTML and SVG, may have scripts, which would run in the application."""

_UNSAFE_CHARACTERS: Final = re.compile(r"[\x00-\x1f\x7f\"\\/]")
_ATTR_CHARACTERS: Final = "!#$&+-.^_`|~"
"""The characters beside letters and digits that RFC 8187 leaves as they are."""


def content_disposition(name: str, content_type: str, inline_types: Collection[str], *, is_download: bool) -> str:
    """Return the header ``Content-Disposition``. The name is given in ASCII, and as RFC 8187 has it if it is not."""
    kind = content_type.partition(";")[0].strip().lower()
    may_show = not is_download and (kind in inline_types or _SAFE.fullmatch(kind) is not None)
    disposition = "inline" if may_show else "attachment"
    clean = _UNSAFE_CHARACTERS.sub("_", name).encode("utf-8", "replace").decode()
    if not clean:
        return disposition
    # Clients that do not know RFC 8187 read this name.
    plain = clean.encode("ascii", "replace").decode().replace("?", "_")
    if plain == clean:
        return f'{disposition}; filename="{plain}"'
    return f"{disposition}; filename=\"{plain}\"; filename*=UTF-8''{quote(clean, safe=_ATTR_CHARACTERS)}"
