"""What a browser sends when a recipe is saved, and what the model says to it."""

from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile

from couchmodel import AttachmentError

from .fields import FIELDS, values_of
from .models import Recipe


class RecipeForm:
    """A form that was sent. ``texts`` are shown again if something does not fit, with ``errors`` beside them.

    ``picks`` are the versions that were picked on the page of a conflict, by the names of the fields.
    """

    def __init__(self, sent: FormData) -> None:
        self.rev = _text(sent, "rev")
        self.picks = {name: _text(sent, f"pick-{name}") for name in (*FIELDS, "photo") if f"pick-{name}" in sent}
        self.texts = {name: self._picked_text(sent, name) for name in FIELDS}
        self.values = values_of(self.texts)
        self.errors = _errors(self.values)
        photo = sent.get("photo") if self.picks.get("photo") != "theirs" else None
        self.photo = photo if isinstance(photo, UploadFile) and photo.filename else None

    def _picked_text(self, sent: FormData, name: str) -> str:
        return _text(sent, f"{self.picks[name]}-{name}" if name in self.picks else name)


def errors_by_field(errors: Iterable[Any]) -> dict[str, str]:
    """Return pydantic's messages by the names of the fields. Those of a list name the place."""
    found: dict[str, str] = {}
    for error in errors:
        name, *place = error["loc"]
        message = f"Number {place[0] + 1}: {error['msg']}." if place else f"{error['msg']}."
        found[name] = f"{found[name]} {message}" if name in found else message
    return found


def photo_error(error: AttachmentError) -> str:
    """Return what the model says of a photo, without the name of the document, which visitors do not know."""
    return f"The photo {error.reason}."


def _errors(values: dict[str, object]) -> dict[str, str]:
    try:
        Recipe.model_validate(values)
    except ValidationError as error:
        return errors_by_field(error.errors())
    return {}


def _text(sent: FormData, name: str) -> str:
    value = sent.get(name, "")
    return value.replace("\r\n", "\n") if isinstance(value, str) else ""
