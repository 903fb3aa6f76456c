"""The function that declares a field, with what storing needs beside pydantic's own options."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, Literal

import pydantic
from pydantic.fields import FieldInfo

from couchmodel._model.schema.suggestions import nearest
from couchmodel.errors import ConfigurationError

if TYPE_CHECKING:
    import re

    from pydantic import AliasChoices, AliasPath
    from pydantic.types import Discriminator

__all__ = ["Field", "StorageOptions", "counts_equal_changes", "storage_options"]


@dataclass(frozen=True, slots=True)
class StorageOptions:
    """The options of a field beside pydantic's, of its storage and of web APIs. They are among its metadata."""

    stored_as: str | None = None
    index: bool = False
    merge: "MergePolicy | None" = None
    merge_key: str | None = None
    read_only: bool = False
    write_only: bool = False


MergePolicy = Literal["sum", "union", "max", "min", "mine", "theirs"] | Callable[[Any, Any, Any], Any]
"""How two versions of a field are merged. A function takes the base, which may be None, mine and theirs."""

_POLICIES: Final = ("sum", "union", "max", "min", "mine", "theirs")

_NONE: Final = StorageOptions()


def storage_options(info: FieldInfo) -> StorageOptions:
    """Return the storage options of a field. Those of its default come before those inside its annotation."""
    # pydantic keeps metadata that it does not know, and merges those of `Annotated` and of the default into one list.
    for each in info.metadata:
        if isinstance(each, StorageOptions):
            return each
    return _NONE


def counts_equal_changes(policy: "MergePolicy | None") -> bool:
    """Return True if a policy tells two sides that have changed a field to one value from one side that has."""
    return policy == "sum" or callable(policy)


if TYPE_CHECKING:

    def Field(  # noqa: N802 - pydantic's name
        default: Any = ...,
        *,
        stored_as: str | None = None,
        index: bool = False,
        merge: MergePolicy | None = None,
        merge_key: str | None = None,
        read_only: bool = False,
        write_only: bool = False,
        default_factory: Callable[[], Any] | Callable[[dict[str, Any]], Any] | None = None,
        alias: str | None = None,
        alias_priority: int | None = None,
        validation_alias: str | AliasPath | AliasChoices | None = None,
        serialization_alias: str | None = None,
        title: str | None = None,
        field_title_generator: Callable[[str, FieldInfo], str] | None = None,
        description: str | None = None,
        examples: list[Any] | None = None,
        exclude: bool | None = None,
        exclude_if: Callable[[Any], bool] | None = None,
        discriminator: str | Discriminator | None = None,
        deprecated: str | bool | None = None,
        json_schema_extra: Mapping[str, Any] | Callable[[dict[str, Any]], None] | None = None,
        frozen: bool | None = None,
        validate_default: bool | None = None,
        repr: bool = True,
        init: bool | None = None,
        init_var: bool | None = None,
        kw_only: bool | None = None,
        pattern: str | re.Pattern[str] | None = None,
        strict: bool | None = None,
        coerce_numbers_to_str: bool | None = None,
        gt: Any = ...,
        ge: Any = ...,
        lt: Any = ...,
        le: Any = ...,
        multiple_of: float | None = None,
        allow_inf_nan: bool | None = None,
        max_digits: int | None = None,
        decimal_places: int | None = None,
        min_length: int | None = None,
        max_length: int | None = None,
        union_mode: Literal["smart", "left_to_right"] = "smart",
        fail_fast: bool | None = None,
    ) -> Any:
        """Declare a field, with the options of pydantic's ``Field`` and some of its own.

        ``stored_as`` is the name of the member in the stored document; the default is the serialization alias, else the
        name of the field. It does not change what an API reads and writes. ``index=True`` declares a Mango index on the
        field. ``merge`` says how two versions of the field are merged that both sides have changed: ``"sum"`` of both
        changes, ``"union"`` of collections, ``"max"``, ``"min"``, ``"mine"``, ``"theirs"``, or a function of the base
        (None if it is not known), mine and theirs. ``merge_key`` is the field by which the models of a list are merged
        one by one. ``read_only=True`` lets no client of a web API set the field, and ``write_only=True`` shows it to
        none. Raises ConfigurationError for an unknown option, and for a name that is none.
        """

else:
    # `extra` is where pydantic collects unknown options, of which it only warns.
    _OPTIONS: Final = frozenset(inspect.signature(pydantic.Field).parameters) - {"extra"}
    _OWN_OPTIONS: Final = [each.name for each in fields(StorageOptions)]

    def Field(  # noqa: N802
        default: Any = pydantic.fields.PydanticUndefined,
        *,
        stored_as: str | None = None,
        index: bool = False,
        merge: Any = None,
        merge_key: str | None = None,
        read_only: bool = False,
        write_only: bool = False,
        **options: Any,
    ) -> Any:
        """Declare a field, with the options of pydantic's ``Field`` and some of its own.

        ``stored_as`` is the name of the member in the stored document; the default is the serialization alias, else the
        name of the field. It does not change what an API reads and writes. ``index=True`` declares a Mango index on the
        field. ``merge`` says how two versions of the field are merged that both sides have changed: ``"sum"`` of both
        changes, ``"union"`` of collections, ``"max"``, ``"min"``, ``"mine"``, ``"theirs"``, or a function of the base
        (None if it is not known), mine and theirs. ``merge_key`` is the field by which the models of a list are merged
        one by one. ``read_only=True`` lets no client of a web API set the field, and ``write_only=True`` shows it to
        none. Raises ConfigurationError for an unknown option, and for a name that is none.
        """
        for name in options.keys() - _OPTIONS:
            raise ConfigurationError(f"Field() has no option {name!r}{nearest(name, [*_OPTIONS, *_OWN_OPTIONS])}")
        if stored_as is not None and (not isinstance(stored_as, str) or not stored_as):
            raise ConfigurationError(f"stored_as is the name of a member, and {stored_as!r} is none")
        if merge is not None and merge not in _POLICIES and not callable(merge):
            raise ConfigurationError(f"merge={merge!r} is no policy: use {', '.join(_POLICIES)}, or a function")
        if write_only:
            options["exclude"] = True
        info = pydantic.Field(default, **options)
        if read_only and write_only:
            raise ConfigurationError("a field is read_only or write_only: one that is both is no part of an API")
        own = StorageOptions(stored_as, index, merge, merge_key, read_only, write_only)
        if own != _NONE:
            info.metadata.append(own)
        return info
