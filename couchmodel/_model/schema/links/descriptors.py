"""The descriptors of links on their models."""

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic.fields import FieldInfo

from couchmodel._model.schema import state
from couchmodel._model.schema.annotations import element_type, stored_name
from couchmodel._model.schema.fields import is_building_class
from couchmodel._model.schema.links.link import LinkExpression, LinkTarget, target_of

__all__ = ["add_link_fields"]


class LinkField:
    """The descriptor of a link on its model. It makes links of values that were assigned."""

    def __init__(self, name: str, stored: str, info: FieldInfo, target: LinkTarget, *, is_list: bool) -> None:
        self.name = name
        self.stored = stored
        self.annotation = Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation
        self.target = target
        self.is_list = is_list

    def __get__(self, document: Any, model: type) -> Any:
        if document is None:
            if is_building_class.get():  # pydantic must not find a default here
                raise AttributeError(self.name)
            return LinkExpression(
                (self.stored,), self.annotation, (model, self.name), self.target, is_list=self.is_list
            )
        try:
            value = vars(document)[self.name]
        except KeyError:
            raise AttributeError(f"{model.__name__} has no value of {self.name!r}") from None
        # A list may have been appended to since the last access, with ids or documents.
        value = self.accept(document, value)
        # The same link is returned the next time, with the document that it has loaded by then.
        vars(document)[self.name] = value
        repository = state.repository(document)
        for link in value if self.is_list else (value,):
            # The document may have been loaded or saved since the last access.
            link.note_repository(repository)
        return value

    def __set__(self, document: Any, value: object) -> None:
        document.__setattr__(self.name, value)

    def accept(self, document: object, value: Any) -> Any:
        """Return the link of a value, or the links of several. Raises ValueError if it is neither id nor document."""
        try:
            if not self.is_list:
                return self.target.accept(value)
            if isinstance(value, str) or not isinstance(value, Iterable):
                raise ValueError(f"it has several links, as in ['ada'], and {value!r} is none")  # noqa: TRY301, TRY004
            links = [self.target.accept(each) for each in value]
        except ValueError as error:
            raise ValueError(f"{type(document).__name__}.{self.name}: {error}") from None
        if isinstance(value, list):  # the list itself, so that it can be appended to
            value[:] = links
            return value
        return links

    def assign(self, document: Any, name: str, value: Any) -> None:
        """Set the field of a document, as pydantic sets a field."""
        config = type(document).model_config
        if config.get("frozen") or type(document).__pydantic_fields__[name].frozen:
            raise AttributeError(f"{type(document).__name__}.{name} is frozen, so it cannot be assigned")
        vars(document)[name] = self.accept(document, value)
        document.__pydantic_fields_set__.add(name)


def add_link_fields(model: Any) -> None:
    """Put the descriptors of a model's links on its class."""
    for name, info in model.__pydantic_fields__.items():
        target, element = target_of(info.annotation, info.metadata), element_type(info.annotation)
        is_list = target is None and element is not None and (target := target_of(element)) is not None
        if target is not None:
            target.note_owner(model)
            field = LinkField(name, stored_name(name, info), info, target, is_list=is_list)
            type.__setattr__(model, name, field)
            # pydantic keeps here how it sets each attribute.
            model.__pydantic_setattr_handlers__[name] = field.assign
