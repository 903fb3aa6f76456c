"""The declaration of a view, as an attribute of a model's class."""

# An overload may say with which types of the class it can be called.
# pyright: reportInvalidTypeVarUse=false

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, Literal, NoReturn, TypeVar, overload

from couchmodel._model.schema.base import DocumentModel
from couchmodel._model.schema.expressions.conditions import Condition
from couchmodel._model.views.bound import BoundView
from couchmodel._model.views.declared import ViewDeclaration
from couchmodel._model.views.results import Stats
from couchmodel.errors import ConfigurationError

__all__ = ["View"]

M = TypeVar("M", bound=DocumentModel)
A = TypeVar("A")
V = TypeVar("V")
T = TypeVar("T")

Keys = str | tuple[str, ...]
Where = Mapping[str, Any] | Callable[[Any], Condition]


class View(ViewDeclaration, Generic[A, V, T]):
    """A view of a model, typed by its keys, its values and its reductions.

    ``by_author: ClassVar[View[tuple[str, date], int, Stats]] = View(key=("author", "published"), value="pages",
    reduce="_stats")`` declares one by fields. A document that lacks one of the fields has no row.
    """

    # A type checker takes the types of values and groups from the arguments, and those of keys from the annotation.
    @overload
    def __init__(self: "View[A, None, None]", key: Keys, *, each: bool = False, where: Where | None = None) -> None: ...
    @overload
    def __init__(
        self: "View[A, None, int]",
        key: Keys,
        *,
        each: bool = False,
        reduce: Literal["_count"],
        where: Where | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self: "View[A, V, None]", key: Keys, *, value: str, each: bool = False, where: Where | None = None
    ) -> None: ...
    @overload
    def __init__(
        self: "View[A, V, V]",
        key: Keys,
        *,
        value: str,
        each: bool = False,
        reduce: Literal["_sum"],
        where: Where | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self: "View[A, V, Stats]",
        key: Keys,
        *,
        value: str,
        each: bool = False,
        reduce: Literal["_stats"],
        where: Where | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self: "View[A, V, int]",
        key: Keys,
        *,
        value: str,
        each: bool = False,
        reduce: Literal["_count"],
        where: Where | None = None,
    ) -> None: ...
    @overload
    def __init__(self, *, map: str | Path, reduce: str | Path | None = None) -> None: ...
    def __init__(
        self,
        key: Any = None,
        *,
        value: str | None = None,
        each: bool = False,
        reduce: str | Path | None = None,
        where: Where | None = None,
        map: str | Path | None = None,
    ) -> None:
        """Declare a view by fields, or by a map function of your own.

        ``key`` is the path of a field, or a tuple of paths. With ``each=True``, one of the fields is a list, and there
        is a row for each of its elements. ``value`` is the path of the field that is the value, else values are None.
        ``reduce`` is ``"_count"``, ``"_sum"`` or ``"_stats"``; the latter two leave out values that are no numbers.
        ``where`` is a condition for rows: a selector of Mango, or a function of the class, as in
        ``lambda book: book.pages > 100``.

        ``map`` is the JavaScript of a map function, or the path of a file with it, relative to the module of the model.
        ``reduce`` may be JavaScript, or such a path, then. Raises ConfigurationError for options that do not go
        together.
        """
        ViewDeclaration.__init__(self, key, value, reduce, where, map, each=each)

    def __get__(self, document: M | None, owner: type[M]) -> BoundView[M, A, V, T]:
        # ``owner`` is the class that is asked, so a subclass has the view with its own documents.
        return BoundView(owner, self.name)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> NoReturn:
        raise ConfigurationError("a view is a class variable: write `by_author: ClassVar[View[…]] = View(…)`")
