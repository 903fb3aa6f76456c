"""Links: fields that hold the id of another document, which can be awaited.

A link is stored as the id, and several links as a list of ids. The class that a link leads to may be defined later or
in another module: its name is looked up when it is first needed, so models may link to each other.
"""

import re
import sys
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from itertools import count, takewhile
from typing import TYPE_CHECKING, Annotated, Any, Final, Generic, Self, TypeVar, get_args, overload
from weakref import WeakKeyDictionary

from pydantic import BaseModel
from pydantic_core import CoreSchema, core_schema

from couchmodel._model.schema.annotations import bare_type, class_annotation, element_type
from couchmodel._model.schema.expressions.conditions import Comparison, Condition, Negation
from couchmodel._model.schema.expressions.field_expressions import FieldExpression
from couchmodel.errors import ConfigurationError, NotFoundError, QueryError

__all__ = [
    "ID_SERIALIZATIONS",
    "Link",
    "LinkExpression",
    "LinkTarget",
    "Links",
    "caller",
    "declared_target",
    "is_link",
    "make_target",
    "name_links",
    "register",
    "target_of",
]

_order: Final = count()
_models: Final[WeakKeyDictionary[type, int]] = WeakKeyDictionary()
"""All models, with the order in which they were defined."""


def register(model: type) -> None:
    """Remember a model, so that links find it by its name."""
    _models[model] = next(_order)


@dataclass(frozen=True, slots=True)
class LinkTarget:
    """The model that a link leads to: the class, or its name and the module that names it.

    It is the metadata of the annotation ``Link[Author]``. ``is_optional`` says that the link may be empty, ``owner`` is
    the model that has the link.
    """

    named: Any
    module: str
    is_optional: bool
    owner: Any = field(default=None, compare=False, repr=False)

    def note_owner(self, owner: type) -> None:
        """Record the model that has the link, unless it is inherited."""
        if self.owner is None:
            # The target is frozen because it is part of an annotation. The class that it belongs to is known only when
            # it is made.
            object.__setattr__(self, "owner", owner)

    @property
    def model(self) -> Any:
        """The class of the linked documents. Raises ConfigurationError if no model has this name."""
        if not isinstance(self.named, str):
            return self.named
        found = _find_model(self.named, self.module, self.owner)
        if found is None:
            raise ConfigurationError(
                f"there is no model {self.named!r}, to which {self.module} links: import its module"
            )
        return found

    def accept(self, value: object) -> "Link[Any]":
        """Return the link of an id, a document or another link. Raises ValueError for anything else."""
        if isinstance(value, Link):
            return value if value.target == self else Link(self, value.id_or_none, value.document)
        if value is None and self.is_optional:
            return Link(self)
        # An underscore begins the names of CouchDB's own documents.
        if isinstance(value, str) and value and not value.startswith("_"):
            return Link(self, value)
        if hasattr(type(value), "__declared__"):
            document: Any = value
            if not isinstance(document, self.model):
                raise ValueError(f"a link to {self.name} cannot lead to a {type(document).__name__}")
            return Link(self, document.id, document)
        raise ValueError(f"a link to {self.name} is made of an id or a document, and {value!r} is neither")

    @property
    def name(self) -> str:
        """The name of the class."""
        return self.named if isinstance(self.named, str) else str(self.named.__name__)

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        text: CoreSchema = core_schema.str_schema(min_length=1)
        return core_schema.json_or_python_schema(
            json_schema=core_schema.no_info_after_validator_function(
                self.accept, core_schema.nullable_schema(text) if self.is_optional else text
            ),
            # JSON has ids only, and Python documents and links as well.
            python_schema=core_schema.no_info_plain_validator_function(self.accept),
            serialization=_OPTIONAL_ID if self.is_optional else _ID,
        )


def _find_model(name: str, module: str, owner: Any) -> Any:
    """Return the model that a module knows under a name.

    If a module knows it only for type checkers, or not yet, return the model of that name which is nearest: in the same
    module, in the same database, in a package near by. Of several that are equally near, the last one that was defined.
    """
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    if found in _models:
        return found

    # Two modules may have models of one name. A name without a module means the one that a reader would expect.
    def nearness(model: Any) -> tuple[bool, bool, int, int]:
        pairs = zip(model.__module__.split("."), module.split("."), strict=False)
        shared = len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))
        in_same = owner is not None and model.__declared__.database == owner.__declared__.database
        return model.__module__ == module, in_same, shared, _models[model]

    return max((model for model in _models if model.__name__ == name.rpartition(".")[2]), key=nearness, default=None)


def _write_id(value: Any) -> str | None:
    if isinstance(value, Link):
        return value.id_or_none
    if value is None or isinstance(value, str):
        return value
    if hasattr(type(value), "__declared__"):
        return str(value.id)
    raise ValueError(f"a link is an id or a document, and {value!r} is neither")


def _serialization(returned: CoreSchema) -> Any:
    return core_schema.plain_serializer_function_ser_schema(_write_id, return_schema=returned)


_ID: Final = _serialization(core_schema.str_schema())
_OPTIONAL_ID: Final = _serialization(core_schema.nullable_schema(core_schema.str_schema()))
ID_SERIALIZATIONS: Final = [_ID, _OPTIONAL_ID]
"""The serializations of links. They write a text or null."""


# --- annotations


def make_target(parameter: Any, module: str) -> LinkTarget:
    """Return the target of ``Link[parameter]``: a class or its name, with ``| None`` or without."""
    parameter = getattr(parameter, "__forward_arg__", parameter)
    if isinstance(parameter, str):
        optional = re.fullmatch(r"(?:\w+\.)*Optional\[(.+)\]", parameter.strip())
        names = [part.strip().strip("'\"") for part in (optional[1] if optional else parameter).split("|")]
        named: Any = [name for name in names if name != "None"]
        return LinkTarget(named[0] if named else "None", module, optional is not None or "None" in names)
    named = [each for each in get_args(parameter) if each is not type(None)] or [parameter]
    kind = getattr(named[0], "__forward_arg__", named[0])
    if not isinstance(kind, str) and not hasattr(kind, "__declared__"):
        raise ConfigurationError(f"a link leads to a CouchModel, as in Link[Author], and {kind!r} is none")
    return LinkTarget(kind, module, len(named) < len(get_args(parameter)))


def caller() -> str:
    """Return the name of the module whose code called the function that calls this."""
    return str(sys._getframe(2).f_globals.get("__name__", ""))  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


_LINK_TEXT: Final = re.compile(r"(?:\w+\.)*(Links?)\[(.+)\]\s*")


def name_links(annotations: dict[str, Any], module: str) -> dict[str, Any]:
    """Return annotations with those that are the text of a link, such as ``"Link[Author]"``, replaced by the link.

    So a class may link to one that is imported for type checkers only, as in a cycle of imports.
    """
    named = dict(annotations)
    for name, text in annotations.items():
        found = _LINK_TEXT.fullmatch(text) if isinstance(text, str) else None
        if found is not None:
            annotated: Any = Annotated
            target = annotated[Link, make_target(found[2], module)]
            named[name] = list.__class_getitem__(target) if found[1] == "Links" else target
    return named


def target_of(annotation: Any, metadata: Iterable[Any] = ()) -> LinkTarget | None:
    """Return the target of the annotation of a link; None if it is no link."""
    found = [each for each in (*getattr(annotation, "__metadata__", ()), *metadata) if isinstance(each, LinkTarget)]
    return found[0] if found and bare_type(annotation) is Link else None


def declared_target(owner: type, name: str) -> LinkTarget:
    """Return the target in the annotation of a class attribute, such as ``ClassVar[BackLink["Book"]]``.

    Raises ConfigurationError if there is none.
    """
    annotation: Any = class_annotation(owner, name)
    if isinstance(annotation, str):
        found = re.search(r"BackLink\[(.+?)\]", annotation)
        if found is not None:
            target = make_target(found[1], owner.__module__)
            target.note_owner(owner)
            return target
    for each in (annotation, *get_args(annotation)):
        for target in getattr(each, "__metadata__", ()):
            if isinstance(target, LinkTarget):
                target.note_owner(owner)
                return target
    raise ConfigurationError(
        f'{owner.__name__}.{name} does not say which documents link: write `{name}: ClassVar[BackLink["…"]]`'
    )


def is_link(field: Any) -> bool:
    """Return True for the field, or the annotation, of a link or of a list of links."""
    annotation, metadata = getattr(field, "annotation", field), getattr(field, "metadata", ())
    return target_of(annotation, metadata) is not None or target_of(element_type(annotation)) is not None


# --- links


L = TypeVar("L", bound=BaseModel | None)
M = TypeVar("M", bound=BaseModel)


class LinkExpression(FieldExpression[Any], Generic[M]):
    """A link, or a list of links, as an attribute of the class. It is compared with ids, documents and links."""

    __slots__ = ("is_list", "target")

    def __init__(
        self, names: tuple[str, ...], annotation: Any, owner: tuple[type, str], target: LinkTarget, *, is_list: bool
    ) -> None:
        super().__init__(names, annotation, owner, owner[0])
        self.target = target
        self.is_list = is_list

    @property
    def id(self) -> FieldExpression[str]:
        """The id as a field of text, of which conditions such as ``startswith`` are made."""
        return FieldExpression(self._place.names, str)

    def __eq__(self, other: "M | Link[Any] | str | None") -> Condition:  # type: ignore[override]
        """Return the condition that the link leads to this document, or that one of several links does."""
        return Comparison(self._place, "$elemMatch" if self.is_list else "$eq", self._operand(other))

    def __ne__(self, other: "M | Link[Any] | str | None") -> Condition:  # type: ignore[override]
        """Return the condition that a link does not lead to this document. Of several links, none does."""
        # For a list `$ne` compares the whole list, so the negation of "one of them is" is needed.
        return Negation(self == other) if self.is_list else Comparison(self._place, "$ne", self._operand(other))

    def in_(self, values: "Iterable[M | Link[Any] | str]") -> Condition:
        """Return the condition that the link leads to one of these documents, or that one of several links does."""
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise QueryError(f"{self.path!r} is compared with several links, as in ['ada'], and {values!r} is none")
        return Comparison(self._place, "$anyOf" if self.is_list else "$in", [self._operand(each) for each in values])

    def _operand(self, value: Any) -> str | None:
        if value is None:
            return None
        try:
            return self.target.accept(value).id
        except ValueError as error:
            raise QueryError(f"{self.path}: {error}") from None

    __hash__ = None


class Link(Generic[L]):
    """A link to a document: ``author: Link[Author]``, or ``Link[Author | None]`` if it may be empty.

    It is made of an id or of a document, and awaiting it loads the document.
    """

    __slots__ = ("_document", "_id", "_repository", "target")

    target: LinkTarget

    def __init__(self, target: LinkTarget, id: str | None = None, document: Any = None) -> None:
        self.target = target
        self._id = id
        self._document = document
        self._repository: Any = None

    if TYPE_CHECKING:

        @overload
        def __get__(self: "Link[M | None]", instance: None, owner: Any) -> "LinkExpression[M]": ...
        @overload
        def __get__(self, instance: None, owner: Any) -> "LinkExpression[Any]": ...
        @overload
        def __get__(self, instance: object, owner: Any) -> Self: ...
        def __get__(self, instance: Any, owner: Any) -> Any: ...
        def __set__(self, instance: Any, value: "L | Link[L] | str") -> None: ...

    else:

        def __class_getitem__(cls, parameter: Any) -> Any:
            if isinstance(parameter, TypeVar) or parameter is Any:
                return super().__class_getitem__(parameter)
            return Annotated[Link, make_target(parameter, caller())]

    @property
    def id(self) -> str:
        """The id of the linked document; an empty text if the link is empty."""
        return self.id_or_none or ""

    @property
    def id_or_none(self) -> str | None:
        """The id of the linked document; None if the link is empty."""
        # The id of a document may be made of its fields when it is saved, so it is asked for each time.
        return self._id if self._document is None else self._document.id

    @property
    def document(self) -> L | None:
        """The linked document, if it was assigned, prefetched or awaited; else None."""
        found: L | None = self._document
        return found

    def note_document(self, document: Any) -> None:
        """Record the linked document, which was loaded."""
        self._document = document

    def note_repository(self, repository: Any) -> None:
        """Record the repository of the document that has the link: the linked one may be of the same database."""
        self._repository = repository

    def __await__(self) -> Generator[Any, None, L]:
        return _load(self, self._repository).__await__()

    def __bool__(self) -> bool:
        return self.id_or_none is not None

    def __eq__(self, other: object) -> bool:
        if isinstance(other, (Link, str, type(None))) or hasattr(type(other), "__declared__"):
            return _write_id(self) == _write_id(other)
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.id_or_none)

    def __repr__(self) -> str:
        return f"<Link to {self.target.name} {self.id_or_none!r}>"

    def __copy__(self) -> Self:
        return self.__deepcopy__({})

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        link = type(self)(self.target, self._id, self._document)
        link.note_repository(self._repository)
        return link

    # Without the document and the repository: a pickle must not carry a connection.
    def __reduce__(self) -> Any:
        return type(self), (self.target, self.id_or_none)


class Links(Generic[M]):
    """Links to several documents: ``readers: Links[Author] = Field(default_factory=list)``."""

    if TYPE_CHECKING:

        @overload
        def __get__(self, instance: None, owner: Any) -> "LinkExpression[M]": ...
        @overload
        def __get__(self, instance: object, owner: Any) -> list[Link[M]]: ...
        def __get__(self, instance: Any, owner: Any) -> Any: ...
        def __set__(self, instance: Any, value: "Iterable[M | Link[M] | str]") -> None: ...

    else:

        def __class_getitem__(cls, parameter: Any) -> Any:
            if isinstance(parameter, TypeVar) or parameter is Any:
                return super().__class_getitem__(parameter)
            return list[Annotated[Link, make_target(parameter, caller())]]


async def _load(link: Any, repository: Any) -> Any:
    """Return the document that a link leads to.

    Raises NotFoundError if there is none any more; a link that may be empty gives None then.
    """
    if link.document is not None or not link:
        return link.document
    model = link.target.model
    # A document outlives its connection. Then the link is loaded from the database that its model is bound to now.
    if repository is None or repository.session.is_closed:
        repository = model.repository()
    elif repository.model is not model:
        repository = repository.repository_of(model)
    try:
        document = await repository.get(link.id)
    except NotFoundError as error:
        if link.target.is_optional and error.reason in ("missing", "deleted"):
            return None
        error.hint = error.hint or f"a link leads to the {link.target.name} {link.id!r}, which is {error.reason}"
        raise
    link.note_document(document)
    return document
