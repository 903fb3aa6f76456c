"""Back links: the documents that link to a document, as an attribute of it."""

from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, Self, TypeVar, get_args, overload

from couchmodel._model.query.query import Query
from couchmodel._model.schema.base import DocumentModel
from couchmodel._model.schema.links.link import LinkExpression, caller, declared_target, make_target
from couchmodel._model.schema.suggestions import nearest
from couchmodel.errors import ConfigurationError

__all__ = ["BackLink", "back_links_of"]

M = TypeVar("M", bound=DocumentModel)
DeleteRule = Literal["keep", "refuse", "delete"]


class BackLink(Generic[M]):
    """The documents that link to a document: ``books: ClassVar[BackLink["Book"]] = BackLink("author")``.

    ``ada.books`` is a query for them.
    """

    def __init__(self, field: str, *, on_delete: DeleteRule = "keep") -> None:
        """``field`` is the name of the link in the other model.

        ``on_delete`` says what deleting the document does. ``"keep"`` leaves the links, which lead to nothing then;
        ``"refuse"`` raises a DocumentError if there are any; ``"delete"`` deletes the documents that link first.
        """
        if on_delete not in get_args(DeleteRule):
            raise ConfigurationError(f"on_delete is 'keep', 'refuse' or 'delete', not {on_delete!r}")
        self.field = field
        self.on_delete: DeleteRule = on_delete
        self.name = ""
        self._owner: Any = None
        self._model: Any = None

    if not TYPE_CHECKING:

        def __class_getitem__(cls, parameter: Any) -> Any:
            if isinstance(parameter, TypeVar) or parameter is Any:
                return super().__class_getitem__(parameter)
            # The name of a class is kept with the module that it stands in, because the class may be defined later.
            return Annotated[BackLink, make_target(parameter, caller())]

    def __set_name__(self, owner: type, name: str) -> None:
        self._owner, self.name = owner, name

    @property
    def model(self) -> type[M]:
        """The model whose documents link. Raises ConfigurationError if it is not declared, or not defined by now."""
        if self._model is None:
            self._model = declared_target(self._owner, self.name).model
        found: type[M] = self._model
        return found

    @property
    def link(self) -> LinkExpression[Any]:
        """The link of the other model. Raises ConfigurationError if it has no such link."""
        model = self.model
        found = getattr(model, self.field, None) if self.field in model.__pydantic_fields__ else None
        if not isinstance(found, LinkExpression):
            hint = nearest(self.field, model.__pydantic_fields__) if found is None else ""
            raise ConfigurationError(
                f"{self._owner.__name__}.{self.name}: {model.__name__} has no link {self.field!r}{hint}"
            )
        return found

    @overload
    def __get__(self, document: None, owner: Any) -> Self: ...
    @overload
    def __get__(self, document: object, owner: Any) -> Query[M]: ...
    def __get__(self, document: Any, owner: Any) -> Any:
        return self if document is None else document.__back_link__(self)


def back_links_of(model: type) -> list[BackLink[Any]]:
    """Return the back links of a model, also those that it inherits."""
    found = {name: value for base in reversed(model.__mro__) for name, value in vars(base).items()}
    return [value for value in found.values() if isinstance(value, BackLink)]
