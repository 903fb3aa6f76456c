"""The annotation of a field whose class attribute type checkers know as a field expression."""

from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from pydantic import BaseModel

from couchmodel._model.schema.expressions.field_expressions import FieldExpression, ListExpression

__all__ = ["Mapped"]

T = TypeVar("T")
E = TypeVar("E", bound=BaseModel)

if TYPE_CHECKING:

    class Mapped(Generic[T]):
        """The annotation of a field: ``rating: Mapped[int] = Field(default=0)``.

        A type checker then knows ``Recipe.rating`` as a ``FieldExpression[int]`` and ``recipe.rating`` as an ``int``.
        When the program runs, ``Mapped[int]`` is ``int``.
        """

        # The order of the overloads matters: a checker takes the first that fits.
        @overload
        def __get__(self: "Mapped[E]", instance: None, owner: Any) -> type[E]: ...
        @overload
        def __get__(self: "Mapped[list[E]]", instance: None, owner: Any) -> ListExpression[E]: ...
        @overload
        def __get__(self, instance: None, owner: Any) -> FieldExpression[T]: ...
        @overload
        def __get__(self, instance: object, owner: Any) -> T: ...
        def __get__(self, instance: Any, owner: Any) -> Any: ...
        def __set__(self, instance: Any, value: T) -> None: ...

else:

    class Mapped:
        """The annotation of a field: ``rating: Mapped[int] = Field(default=0)``.

        A type checker then knows ``Recipe.rating`` as a ``FieldExpression[int]`` and ``recipe.rating`` as an ``int``.
        When the program runs, ``Mapped[int]`` is ``int``.
        """

        def __class_getitem__(cls, annotation: Any) -> Any:
            # pydantic reads annotations when the program runs, and must see the field's own type.
            return annotation
