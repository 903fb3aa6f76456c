"""The fields of a recipe as texts of a form: the same for editing, for comparing versions, and for the history."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from .models import Recipe

Kind = Literal["line", "paragraph", "number", "stars", "tags", "lines"]


@dataclass(frozen=True, slots=True)
class FormField:
    """A field of the form. ``hint`` says below its label how it is filled in."""

    name: str
    label: str
    kind: Kind
    hint: str = ""

    def read(self, text: str) -> object:
        """Return what a text stands for. The model checks it."""
        match self.kind:
            case "tags":
                return list(dict.fromkeys(part.strip().lower() for part in text.split(",") if part.strip()))
            case "lines":
                return [line.strip() for line in text.splitlines() if line.strip()]
            case "number":
                return text.strip() or None
            case "stars":
                return text.strip() or 0
            case _:
                return text.strip()

    def write(self, value: Any) -> str:
        """Return a value of the model as the text of the form."""
        match self.kind:
            case "tags":
                return ", ".join(value)
            case "lines":
                return "\n".join(value)
            case _:
                return "" if value is None else str(value)


_FIELDS: Final = (
    FormField("title", "Title", "line"),
    FormField("summary", "In a sentence", "paragraph", "What is it, and why would one cook it?"),
    FormField("minutes", "Minutes", "number"),
    FormField("servings", "Servings", "number"),
    FormField("rating", "Rating", "stars"),
    FormField("tags", "Tags", "tags", "Separate them with commas."),
    FormField("ingredients", "Ingredients", "lines", "One on each line."),
    FormField("steps", "Steps", "lines", "One on each line."),
)

FIELDS: Final = {field.name: field for field in _FIELDS}


def texts_of(recipe: Recipe | None) -> dict[str, str]:
    """Return the texts that a form begins with: those of a recipe, or those of a new one."""
    shown = recipe or Recipe(title="-", id="-").model_copy(update={"title": ""})
    return {name: field.write(getattr(shown, name)) for name, field in FIELDS.items()}


def values_of(texts: Mapping[str, str]) -> dict[str, object]:
    """Return the values that the texts of a form stand for."""
    return {name: field.read(texts.get(name, "")) for name, field in FIELDS.items()}
