"""Ids of documents: made anew, or of the document's fields by a template."""

import os
import string
import time
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from couchmodel._model.schema.suggestions import nearest
from couchmodel.errors import ConfigurationError

__all__ = ["TemplateError", "fields_of_template", "id_factory", "new_id", "render_id"]


class TemplateError(ValueError):
    """An id template has a field whose value cannot stand in an id. ``value`` is the stored form of the value."""

    def __init__(self, field: str, value: object, reason: str) -> None:
        super().__init__(f"{field} is {value!r}, and {reason}")
        self.field = field
        self.value = value


def new_id() -> str:
    """Return a unique document id: a UUID of version 7 as 32 hexadecimal digits, which sorts by time.

    The time is encoded as in RFC 9562, section 6.2, method 3: milliseconds, and 12 bits for fractions of one. Ids that
    sort by time keep CouchDB's B-trees compact, and an id made by the client makes a repeated write detectable.
    """
    milliseconds, nanoseconds = divmod(time.time_ns(), 1_000_000)
    # 0x7000 is version 7, and the highest bits 10 of the second half are the variant of RFC 9562.
    high = milliseconds << 16 | 0x7000 | (nanoseconds << 12) // 1_000_000
    noise = int.from_bytes(os.urandom(8), "big")
    return f"{high:016x}{0x8000_0000_0000_0000 | noise & 0x3FFF_FFFF_FFFF_FFFF:016x}"


def fields_of_template(model: Any, template: str) -> tuple[str, ...]:
    """Return the fields that a template of ids is made of.

    Raises ConfigurationError if it is no template, or names something else than a field.
    """
    fields = [name for name in model.__pydantic_fields__ if name not in ("id", "rev")]
    try:
        parts = [(name, spec or "", conversion) for _, name, spec, conversion in string.Formatter().parse(template)]
    except ValueError as error:
        raise ConfigurationError(f"{model.__name__}: id={template!r} is no template: {error}") from None
    names = [name for name, _, _ in parts if name is not None]
    if any("{" in spec or conversion for _, spec, conversion in parts):
        raise ConfigurationError(
            f"{model.__name__}: id={template!r} may have a format for each field, as in {{number:06}}, and no more"
        )
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

    Raises TemplateError if a field is empty, or is no text, number or truth value; ValueError if it has no stored form.
    """
    parts = []
    for text, name, spec, _ in string.Formatter().parse(template):
        parts.append(text)
        if name is not None:
            value = write(name)
            if value is None or value == "" or isinstance(value, (dict, list)):
                raise TemplateError(name, value, f"the id {template!r} is made of it")
            parts.append(_format(name, value, spec))
    return "".join(parts)


def _format(name: str, value: Any, spec: str | None) -> str:
    if not spec:
        # True is ``true``, as in JSON.
        return value if isinstance(value, str) else str(value).lower()
    try:
        return format(value, spec)
    except ValueError as error:
        raise TemplateError(name, value, f"the format {spec!r} of the id does not fit it: {error}") from None


def id_factory(model: Any, template: str) -> Callable[[dict[str, Any]], str]:
    """Return the factory of ids for pydantic, which gives it the values of the fields before ``id``.

    The factory raises ValidationError if no id can be made of a field.
    """

    def make_id(data: dict[str, Any]) -> str:
        try:
            return render_id(template, lambda name: model.__write_field__(name, data[name]))
        except TemplateError as error:
            # pydantic lets the errors of a factory pass, so this one is made as if pydantic had found it.
            reason = PydanticCustomError("id_template", "{reason}", {"reason": str(error)})
            found = InitErrorDetails(type=reason, loc=(error.field,), input=error.value)
            raise ValidationError.from_exception_data(model.__name__, [found]) from None

    return make_id
