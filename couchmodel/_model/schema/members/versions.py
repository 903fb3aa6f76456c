"""The version of a model's schema, and the upgrades that bring stored documents of an older version up to date."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeVar

from couchmodel.errors import ConfigurationError

__all__ = ["VERSION_MEMBER", "Upgrade", "check_upgrades", "upgrade", "upgrades_of", "version_of"]

F = TypeVar("F", bound=Callable[..., Any])

VERSION_MEMBER: Final = "schema_version"
"""The name of the member. A document without it is of version 1."""

_MARK: Final = "__couchmodel_upgrade__"


class Upgrade(NamedTuple):
    """A function that changes a stored document of the version before ``to``. ``name`` is that of the method."""

    to: int
    name: str
    function: Callable[[dict[str, Any]], object]


def upgrade(*, to: int) -> Callable[[F], F]:
    """Let a static method bring stored documents from the version of the schema before ``to`` to that version.

    It is declared like this::

        class Item(CouchModel, database="stock", version=2):
            amount: Mapped[int] = Field(default=0)

            @upgrade(to=2)
            @staticmethod
            def rename_count(stored: dict[str, Any]) -> None:
                stored["amount"] = stored.pop("count", 0)

    The method changes the members of the stored document, which are JSON values. It runs whenever a document of an
    older version is read, after the upgrades to the versions in between, and before validation. What it returns is
    stored with the next save, or by ``migrate()``. It must return the same for the same document on every computer.

    Raises ConfigurationError for what is no function, and for one that is asynchronous.
    """
    if not isinstance(to, int) or isinstance(to, bool) or to < 2:
        raise ConfigurationError(f"upgrade(to=…) takes the number of a version from 2, not {to!r}")

    def mark(method: F) -> F:
        function = getattr(method, "__func__", method)
        if not inspect.isfunction(function):
            raise ConfigurationError(f"upgrade is for a static method: put it above its @staticmethod, not {method!r}")
        if inspect.iscoroutinefunction(function):
            raise ConfigurationError(f"{function.__qualname__} cannot be asynchronous: it runs whenever it is needed")
        setattr(function, _MARK, to)
        return method

    return mark


def upgrades_of(model: type) -> tuple[Upgrade, ...]:
    """Return the upgrades of a model and its base classes, in the order of their versions."""
    names = dict.fromkeys(name for kind in reversed(model.__mro__) for name in vars(kind))
    found = []
    for name in names:
        # A plain lookup would call descriptors, and would bind the function. An override by a subclass counts.
        static = inspect.getattr_static(model, name)
        function: Any = getattr(static, "__func__", static)
        to = getattr(function, _MARK, None)
        if isinstance(to, int) and inspect.isfunction(function):
            found.append(Upgrade(to, name, function))
    return tuple(sorted(found, key=lambda each: each.to))


def check_upgrades(model: Any) -> None:
    """Raise ConfigurationError unless the upgrades of a model lead from version 1 to its own, one version at a time."""
    upgrades, version = upgrades_of(model), model.__declared__.version
    for each in upgrades:
        if not isinstance(inspect.getattr_static(model, each.name), staticmethod):
            raise ConfigurationError(f"{model.__name__}.{each.name}() is an upgrade: put @staticmethod below @upgrade")
        if each.to > version:
            raise ConfigurationError(
                f"{model.__name__}.{each.name}() upgrades to version {each.to}, and the class is of version {version}:"
                f" write version={each.to}"
            )
    by_version: dict[int, str] = {}
    for each in upgrades:
        other = by_version.setdefault(each.to, each.name)
        if other != each.name:
            raise ConfigurationError(
                f"{model.__name__}.{other}() and {each.name}() both upgrade to version {each.to}: make them one"
            )
    # A model without upgrades reads older documents as they are.
    for to in range(2, version + 1 if upgrades else 2):
        if to not in by_version:
            raise ConfigurationError(
                f"{model.__name__} is of version {version} and has no upgrade to version {to}: declare one with"
                f" @upgrade(to={to}), which may do nothing"
            )


def version_of(stored: Mapping[str, Any]) -> int | None:
    """Return the version of the schema of a stored document; None if its member is no number of a version."""
    # JSON has one type of numbers: 2.0 is a version, too.
    found = stored.get(VERSION_MEMBER, 1)
    if isinstance(found, bool) or not isinstance(found, (int, float)) or found < 1 or found != int(found):
        return None
    return int(found)
