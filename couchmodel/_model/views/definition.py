"""The definitions of a model's views, and the design documents that they are stored as."""

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from weakref import WeakKeyDictionary

from couchmodel._model.codec.forms import form_of
from couchmodel._model.query.selector import build_selector
from couchmodel._model.schema.expressions.places import Place
from couchmodel._model.schema.kinds import kind_selector
from couchmodel._model.views.conditions import parse_where
from couchmodel._model.views.declared import NUMERIC, ViewDeclaration
from couchmodel._model.views.fields import ViewField, element_of, field_at
from couchmodel._model.views.javascript import write_map
from couchmodel._model.views.types import ViewTypes, check_types, declared_types, is_number
from couchmodel._wire.declared_views import DECLARATION, declaration_digest
from couchmodel.errors import ConfigurationError
from couchmodel.types import JSONObject

__all__ = ["VIEW_DESIGNS", "ViewDefinition", "check_views", "declared_views", "design_documents", "view_of"]

VIEW_DESIGNS: Final = "-views-"
"""The part before the digest in the names of the design documents of views."""


@dataclass(frozen=True, slots=True)
class ViewDefinition:
    """A view of a model: its name, the member of the design document that stores it, and the types of its rows.

    ``keys`` are the fields of the key; for a view with a map function of its own, they are made of its annotation.
    ``readers`` are the validators of its rows and groups, made when they are first needed.
    """

    model: Any
    name: str
    stored: JSONObject
    keys: tuple[ViewField, ...]
    is_tuple: bool
    value: ViewField | None
    types: ViewTypes
    is_declared: bool
    reduce: str | None
    design: str = ""
    readers: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def where(self) -> str:
        """The name of the view in errors."""
        return f"{self.model.__name__}.{self.name}"


def declared_views(model: type) -> dict[str, ViewDeclaration]:
    """Return the views of a model by name, also those that it inherits."""
    found = {name: value for base in reversed(model.__mro__) for name, value in vars(base).items()}
    # A subclass that sets the name to something else has no view of it.
    return {name: value for name, value in found.items() if isinstance(value, ViewDeclaration)}


def check_views(model: Any) -> None:
    """Check the views of a model against its fields, when its class is made. Raises ConfigurationError."""
    for name, view in declared_views(model).items():
        _define(model, name, view)


_defined: Final[WeakKeyDictionary[type, tuple[Any, dict[str, ViewDefinition]]]] = WeakKeyDictionary()
"""The views of each model, with the types of its documents, to which a subclass adds its own."""


def _definitions(model: Any) -> dict[str, ViewDefinition]:
    kinds = tuple(form_of(model).kinds)
    found = _defined.get(model)
    # A subclass that is defined later adds its type to the condition of the views.
    if found is None or found[0] != kinds:
        views = {name: _define(model, name, view) for name, view in declared_views(model).items()}
        found = _defined[model] = (kinds, _with_designs(model, views))
    return found[1]


def view_of(model: Any, name: str) -> ViewDefinition:
    """Return a view of a model by its name. Raises ConfigurationError if it cannot be made."""
    return _definitions(model)[name]


def design_documents(model: Any) -> dict[str, JSONObject]:
    """Return the design documents of a model's views, without revisions, by the names behind ``_design/``."""
    found: dict[str, JSONObject] = {}
    for view in _definitions(model).values():
        # CouchDB would else build all views in the background, also those of older versions, which stay until they are
        # pruned.
        body = found.setdefault(view.design, {"language": "javascript", "autoupdate": False, "views": {}})
        body["views"][view.name] = view.stored
    return found


def _with_designs(model: Any, views: Mapping[str, ViewDefinition]) -> dict[str, ViewDefinition]:
    """Return the views with the names of their design documents.

    Declared views and those with map functions of their own are apart: the former need no JavaScript in the embedded
    store, which builds all views of a design document together.
    """
    named = {}
    for is_declared in (True, False):
        some = {name: view for name, view in views.items() if view.is_declared == is_declared}
        text = json.dumps({name: view.stored for name, view in some.items()}, sort_keys=True)
        # A changed view gets a design document of another name, so programs of the old version keep theirs while they
        # run.
        # 48 bits tell the few versions of one model apart.
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        design = f"couchmodel-{model.__declared__.type or model.__name__}{VIEW_DESIGNS}{digest}"
        named.update({name: replace(view, design=design) for name, view in some.items()})
    return named


def _define(model: Any, name: str, view: ViewDeclaration) -> ViewDefinition:
    return _define_script(model, name, view) if view.map is not None else _define_fields(model, name, view)


# --- views by fields


def _define_fields(model: Any, name: str, view: ViewDeclaration) -> ViewDefinition:
    where = f"{model.__name__}.{name}"
    keys = [field_at(model, path, where) for path in view.keys]
    each = _repeated_key(keys, where) if view.each else None
    declaration: JSONObject = {
        "keys": [list(key.place.names) for key in keys],
        "list": view.is_tuple,
        "each": each,
        "value": None,
        "numbers": view.reduce in NUMERIC,
        "linked": False,
        "where": _condition(model, view, where),
    }
    if each is not None:
        keys[each] = element_of(keys[each]) or keys[each]
    value = None if view.value is None else field_at(model, view.value, where)
    if value is not None:
        declaration["value"] = list(value.place.names)
        declaration["linked"] = value.is_link
        if view.reduce in NUMERIC and not is_number(value.said):
            raise ConfigurationError(f"{where}: {value.path!r} is no number, which reduce={view.reduce!r} needs")
    types = check_types(model, name, keys, value, str(view.reduce or ""), is_tuple=view.is_tuple)
    javascript = write_map(declaration)
    declaration["digest"] = declaration_digest(declaration, javascript)
    # Every view is reduced, so that `distinct` can ask for its groups. Counting costs CouchDB next to nothing.
    reduce = str(view.reduce or "_count")
    stored = {"map": javascript, "reduce": reduce, DECLARATION: declaration}
    return ViewDefinition(
        model, name, stored, tuple(keys), view.is_tuple, value, types, True, None if view.reduce is None else reduce
    )


def _repeated_key(keys: list[ViewField], where: str) -> int:
    """Return the place of the key's field that is a list."""
    lists = [n for n, key in enumerate(keys) if element_of(key) is not None]
    if len(lists) != 1:
        raise ConfigurationError(f"{where}: each=True needs one field of the key that is a list, and {len(lists)} are")
    return lists[0]


def _condition(model: Any, view: ViewDeclaration, where: str) -> list[Any]:
    kind = kind_selector(model, form_of(model).kinds) if model.__declared__.type is not None else {}
    parts = [parse_where(kind)] if kind else []
    try:
        if callable(view.where):
            parts.append(parse_where(build_selector([view.where(model)], model=model)))
        elif view.where is not None:
            parts.append(parse_where(view.where))
    except (ConfigurationError, AttributeError) as error:
        raise ConfigurationError(f"{where}: {error}") from None
    return parts[0] if len(parts) == 1 else ["all", parts]


# --- views with map functions of their own


def _define_script(model: Any, name: str, view: ViewDeclaration) -> ViewDefinition:
    stored = {"map": _source(model, view.map), "reduce": "_count"}
    if view.reduce is not None:
        stored["reduce"] = _source(model, view.reduce)
    types = declared_types(model, name)
    is_tuple = bool(types.key_items)
    parts = types.key_items or (types.key,)
    # The values that a map function emits have no place in the document. Their types are those of the annotation.
    keys = tuple(ViewField("", Place((), each), each, each) for each in parts)
    value = ViewField("", Place((), types.value), types.value, types.value)
    reduce = None if view.reduce is None else stored["reduce"]
    return ViewDefinition(model, name, stored, keys, is_tuple, value, types, False, reduce)


def _source(model: Any, source: Any) -> str:
    """Return the text of a function, which may be in a file beside the module of the model."""
    if isinstance(source, str):
        return source
    if not isinstance(source, Path):
        raise ConfigurationError(f"a function is JavaScript, or the Path of a file with it, and {source!r} is neither")
    # A class of a notebook has no file, so the path is relative to the working folder then.
    module = getattr(sys.modules.get(model.__module__), "__file__", None)
    path = (Path(module).parent if module else Path()) / source
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{model.__name__}: the function in {path} cannot be read: {error}") from None
