"""The declaration of a model's place in a database: what its class keywords say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from pydantic import ConfigDict

from couchmodel._model.schema.fields import Index
from couchmodel._model.schema.suggestions import nearest
from couchmodel._model.schema.versions import VERSION_MEMBER
from couchmodel.errors import ConfigurationError

__all__ = ["Declaration", "Security", "declare"]


@dataclass(frozen=True, slots=True)
class Security:
    """The members and administrators of a database, by names and roles (CouchDB's manual, ``/{db}/_security``)."""

    admin_names: tuple[str, ...] = ()
    admin_roles: tuple[str, ...] = ("_admin",)
    member_names: tuple[str, ...] = ()
    member_roles: tuple[str, ...] = ("_admin",)


@dataclass(frozen=True, slots=True)
class Declaration:
    """The class keywords of a model.

    ``type`` is the text that marks the documents of the model in a database of several models; it is stored in the
    member ``type_field``. ``id`` is the template that makes ids of fields, such as ``"book:{slug}"``. ``revs_limit`` is
    the number of revisions that the database remembers of a document. ``version`` is the number of the schema; from 2
    on, it is stored in the member ``schema_version``. ``guard`` says whether the database refuses documents that break
    the constraints of the model.
    """

    database: str | None = None
    indexes: tuple[Index, ...] = ()
    type: str | None = None
    type_field: str = "type"
    id: str | None = None
    security: Security | None = None
    revs_limit: int | None = None
    version: int = 1
    guard: bool = False


_TEXTS: Final = ("database", "type", "type_field", "id")
_KEYWORDS: Final = (*_TEXTS, "indexes", "security", "revs_limit", "version", "guard")


def declare(model: Any, given: Mapping[str, Any], options: Mapping[str, Any]) -> Declaration:
    """Return the declaration of a model: the inherited one with the keywords that are ``given``.

    ``options`` are the keywords that nobody knows. Raises ConfigurationError for the first of them, and for a value of
    the wrong type.
    """
    for name in options:
        known = [*_KEYWORDS, *ConfigDict.__annotations__]
        raise ConfigurationError(f"{model.__name__}: there is no class keyword {name!r}{nearest(name, known)}")
    for name in _TEXTS:
        if name in given and (not isinstance(given[name], str) or not given[name]):
            raise ConfigurationError(f"{model.__name__}: {name} is a text, and {given[name]!r} is none")
    changes = dict(given)
    if "indexes" in given:
        changes["indexes"] = _check_indexes(model, given["indexes"])
    if "security" in given and not isinstance(given["security"], Security):
        raise ConfigurationError(f"{model.__name__}: security is a Security(…), and {given['security']!r} is none")
    _check_settings(model, given)
    inherited: Declaration = model.__declared__
    declared = replace(inherited, **changes)
    if declared.version > 1 and declared.type_field == VERSION_MEMBER:
        raise ConfigurationError(f"{model.__name__}: {VERSION_MEMBER!r} has the version of the schema, not the type")
    return declared


def _check_settings(model: Any, given: Mapping[str, Any]) -> None:
    limit = given.get("revs_limit", 1)
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise ConfigurationError(f"{model.__name__}: revs_limit is a number of revisions from 1, not {limit!r}")
    version = given.get("version", 1)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ConfigurationError(f"{model.__name__}: version is the number of a schema from 1, not {version!r}")
    if not isinstance(given.get("guard", False), bool):
        raise ConfigurationError(f"{model.__name__}: guard is True or False, not {given['guard']!r}")
    if given.get("type_field", "type").startswith("_"):
        raise ConfigurationError(f"{model.__name__}: type_field cannot begin with an underscore, as CouchDB's own do")


def _check_indexes(model: Any, indexes: Any) -> tuple[Index, ...]:
    if not isinstance(indexes, Sequence) or isinstance(indexes, str):
        raise ConfigurationError(f"{model.__name__}: indexes is a list, as in [Index('rating')], not {indexes!r}")
    for each in indexes:
        if not isinstance(each, Index):
            hint = f": write Index({each!r})" if isinstance(each, str) else ""
            raise ConfigurationError(f"{model.__name__}: {each!r} is no index{hint}")
    names = [index.name for index in indexes]
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError(f"{model.__name__}: two indexes are named {name!r}")
    return tuple(indexes)
