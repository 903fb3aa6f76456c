"""The faces of a model in a web API as pydantic models, for the schemas of OpenAPI.

``RecipeCreate`` is what a client sends for a new document, ``RecipePatch`` what it wants changed, and ``RecipeRead``
what it gets. Documents themselves are read and written by their model, so these classes validate nothing.
"""

import warnings
from copy import copy
from typing import Any, Final, Optional
from weakref import WeakKeyDictionary

from pydantic import BaseModel, Field, create_model
from pydantic.fields import FieldInfo

from couchmodel._model.model import CouchModel
from couchmodel._model.schema.annotations import bare_type, complete, is_attachment
from couchmodel._model.schema.field_options import storage_options
from couchmodel.integrations._core.members import Purpose, hidden_fields

__all__ = ["face_of", "page_of"]

_KEPT_CONFIG: Final = ("arbitrary_types_allowed", "json_schema_extra", "val_json_bytes", "ser_json_bytes")
_SUFFIXES: Final[dict[Purpose, str]] = {"create": "Create", "patch": "Patch", "read": "Read"}

_faces: WeakKeyDictionary[type, dict[Purpose, type[BaseModel]]] = WeakKeyDictionary()


def face_of(model: type[BaseModel], purpose: Purpose) -> type[BaseModel]:
    """Return a face of a model, or of an embedded model. It is made once."""
    known = _faces.setdefault(model, {})
    if purpose not in known:
        complete(model)
        known[purpose] = _make_face(model, purpose)
    return known[purpose]


def page_of(model: type[CouchModel]) -> type[BaseModel]:
    """Return the pydantic model of a page of documents as clients read them."""
    name = f"{model.__name__}Page"
    doc = f"A page of {model.__name__}. ``next`` is the token of the page after it; null at the end."
    items: Any = list.__class_getitem__(face_of(model, "read"))
    fields: dict[str, Any] = {"items": (items, ...), "next": (str | None, None)}
    return create_model(name, __doc__=doc, **fields)


def _make_face(model: type[BaseModel], purpose: Purpose) -> type[BaseModel]:
    hidden = hidden_fields(model, purpose)
    fields: dict[str, Any] = {}
    for name, info in model.__pydantic_fields__.items():
        if name not in hidden:
            fields[name] = _face_field(model, name, info, purpose)
    if purpose == "read":
        for name, computed in model.__pydantic_computed_fields__.items():
            fields[name] = (computed.return_type, Field(alias=computed.alias, description=computed.description))
        for name, info in model.__pydantic_fields__.items():
            if is_attachment(info.annotation):
                kind: Any = bare_type(info.annotation)
                fields[name] = (getattr(kind, "__origin__", kind).__info__, ...)
    own: Any = model.model_config
    config: Any = {name: own[name] for name in _KEPT_CONFIG if name in own}
    is_open = purpose == "read" or model.model_config.get("extra", "forbid") != "forbid"
    # ``protected_namespaces`` is for fields such as ``model_id``, of which pydantic has warned at the model already.
    config |= {"extra": "allow" if is_open else "forbid", "protected_namespaces": ()}
    with warnings.catch_warnings():
        # The model has such fields as well, and its class was warned of them.
        warnings.filterwarnings("ignore", "Field name .* shadows an attribute in parent", UserWarning)
        return create_model(
            f"{model.__name__}{_SUFFIXES[purpose]}",
            __config__=config,
            __doc__=model.__doc__ if "__doc__" in vars(model) else None,
            __module__=model.__module__,
            **fields,
        )


def _face_field(model: type[BaseModel], name: str, info: FieldInfo, purpose: Purpose) -> Any:
    if issubclass(model, CouchModel) and name in ("id", "rev"):
        # Ids that begin with an underscore are CouchDB's own, and a slash has no address.
        return (str, Field(min_length=1, pattern=r"^[^_/]") if purpose == "create" else Field())
    # The alias and the default of the copy change, and those of the model must not.
    field = copy(info)
    field.alias = info.alias
    if purpose == "patch":
        # A patch may lack any member, and a default would say what becomes of it.
        field.default, field.default_factory = None, None
    if purpose == "read" and storage_options(info).read_only:
        field.json_schema_extra = {"readOnly": True}
    return (_face_type(info.annotation, purpose), field)


def _face_type(annotation: Any, purpose: Purpose) -> Any:
    """Return the type of a field in a face: an embedded model has the same face, if its own differs from it."""
    kind = bare_type(annotation)
    if not isinstance(kind, type) or not issubclass(kind, BaseModel) or issubclass(kind, CouchModel):
        return annotation
    if purpose != "patch" and not hidden_fields(kind, purpose):
        return annotation
    face: Any = face_of(kind, purpose)
    is_optional = kind is not annotation
    return Optional[face] if is_optional else face  # noqa: UP045 - made when the program runs
