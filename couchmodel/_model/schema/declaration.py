"""The declaration of a model's place in a database: what its class keywords say."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from pydantic import ConfigDict

from couchmodel._model.schema.fields import Index
from couchmodel._model.schema.members.versions import VERSION_MEMBER
from couchmodel._model.schema.suggestions import nearest
from couchmodel.errors import ConfigurationError

__all__ = ["Declaration", "Security", "check_settings", "declare"]


@dataclass(frozen=True, slots=True)
class Security:
    """The members and administrators of a database, by names and roles (CouchDB's manual, ``/{db}/_security``).

    Raises ConfigurationError for names or roles that are no sequence of texts.
    """

    # The defaults are those of a new database of CouchDB 3, which only administrators may use.
    admin_names: list[str] | tuple[str, ...] = ()
    admin_roles: list[str] | tuple[str, ...] = ("_admin",)
    member_names: list[str] | tuple[str, ...] = ()
    member_roles: list[str] | tuple[str, ...] = ("_admin",)

    def __post_init__(self) -> None:
        for each in fields(self):
            given: Any = getattr(self, each.name)
            if isinstance(given, str) or not isinstance(given, Sequence) or not all(isinstance(n, str) for n in given):
                raise ConfigurationError(f"{each.name} of Security is a list of texts, as in ['cook'], not {given!r}")
            object.__setattr__(self, each.name, tuple(given))


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
_SETTINGS: Final = ("security", "revs_limit")
_KEYWORDS: Final = (*_TEXTS, *_SETTINGS, "indexes", "version", "guard")


def declare(model: Any, given: Mapping[str, Any], options: Mapping[str, Any]) -> Declaration:
    """Return the declaration of a model: the inherited one with the keywords that are ``given``.

    ``options`` are the keywords that neither couchmodel nor pydantic takes. Raises ConfigurationError for the first of
    them, and for a value of the wrong type.
    """
    # Python's own error for an unknown keyword does not name it.
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
    _check_values(model, given)
    # The class has none of its own yet, so this is that of its base.
    inherited: Declaration = model.__declared__
    declared = replace(inherited, **changes)
    if declared.version > 1 and declared.type_field == VERSION_MEMBER:
        raise ConfigurationError(f"{model.__name__}: {VERSION_MEMBER!r} has the version of the schema, not the type")
    return declared


def _check_values(model: Any, given: Mapping[str, Any]) -> None:
    limit = given.get("revs_limit", 1)
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise ConfigurationError(f"{model.__name__}: revs_limit is a number of revisions from 1, not {limit!r}")
    version = given.get("version", 1)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ConfigurationError(f"{model.__name__}: version is the number of a schema from 1, not {version!r}")
    if not isinstance(given.get("guard", False), bool):
        raise ConfigurationError(f"{model.__name__}: guard is True or False, not {given['guard']!r}")
    type_field = given.get("type_field", "type")
    # The name stands in selectors and in map functions, where these characters have a meaning of their own.
    if type_field.startswith(("_", "$")) or "." in type_field or "\\" in type_field or type_field in ("id", "rev"):
        raise ConfigurationError(
            f"{model.__name__}: type_field={type_field!r} is no name for the member: write a word, as in"
            ' type_field="kind"'
        )


def check_settings(models: Iterable[Any]) -> None:
    """Raise ConfigurationError if two models declare different settings of one database."""
    declared: dict[tuple[str | None, str], tuple[Any, Any]] = {}
    for model in models:
        for name in _SETTINGS:
            value = getattr(model.__declared__, name)
            if value is None:
                continue
            other, before = declared.setdefault((model.__declared__.database, name), (model, value))
            if before != value:
                raise ConfigurationError(
                    f"{other.__name__} and {model.__name__} declare different values of {name} for the database"
                    f" {model.__declared__.database!r}: declare it on one of them"
                )


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
