"""Ids of documents: made anew, or of the document's fields by a template."""

import os
import string
import time
from collections.abc import Callable
from typing import Any

from couchmodel._model.schema.suggestions import nearest
from couchmodel.errors import ConfigurationError

__all__ = ["fields_of_template", "id_factory", "new_id", "render_id"]


def new_id() -> str:
    """Return a unique document id: a UUID of version 7 as 32 hexadecimal digits, which sorts by time.

    The time is encoded as in RFC 9562, section 6.2, method 3: milliseconds, and 12 bits for fractions of one. Ids that
    sort by time keep CouchDB's B-trees compact, and an id made by the client makes a repeated write detectable.
    """
    milliseconds, nanoseconds = divmod(time.time_ns(), 1_000_000)
    high = milliseconds << 16 | 0x7000 | (nanoseconds << 12) // 1_000_000
    noise = int.from_bytes(os.urandom(8), "big")
    return f"{high:016x}{0x8000_0000_0000_0000 | noise & 0x3FFF_FFFF_FFFF_FFFF:016x}"


def fields_of_template(model: Any, template: str) -> tuple[str, ...]:
    """Return the fields that a template of ids is made of.

    Raises ConfigurationError if it is no template, or names something else than a field.
    """
    fields = [name for name in model.__pydantic_fields__ if name not in ("id", "rev")]
    try:
        names = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise ConfigurationError(f"{model.__name__}: id={template!r} is no template: {error}") from None
    for name in names:
        if name not in fields:
            raise ConfigurationError(
                f"{model.__name__}: id={template!r} is made of fields in braces, and there is no field"
                f" {name!r}{nearest(name, fields)}"
            )
    if not names or template.startswith("_"):
        raise ConfigurationError(
            f'{model.__name__}: id={template!r} has to name a field, as in id="book:{{slug}}", and may not begin with'
            " an underscore"
        )
    return tuple(names)


def render_id(template: str, write: Callable[[str], Any]) -> str:
    """Return the id that a template makes; ``write`` returns the stored form of a field.

    Raises ValueError if a field is empty, or is no text, number or truth value.
    """
    parts = []
    for text, name, _, _ in string.Formatter().parse(template):
        parts.append(text)
        if name is not None:
            value = write(name)
            if value is None or value == "" or isinstance(value, (dict, list)):
                raise ValueError(f"{name} is {value!r}, and the id {template!r} is made of it")
            parts.append(value if isinstance(value, str) else str(value).lower())
    return "".join(parts)


def id_factory(template: str, write: Callable[[str, Any], Any]) -> Callable[[dict[str, Any]], str]:
    """Return the factory of ids for pydantic, which gives it the values of the fields before ``id``.

    ``write`` returns the stored form of a field's value.
    """
    return lambda data: render_id(template, lambda name: write(name, data[name]))
