"""Three-way merges of documents, field by field.

``base`` is the version that both sides began with, ``mine`` and ``theirs`` are what they made of it. Where one side has
left a field as it was, the other side's value is taken. Where both have changed it, to different values, the policy of
the field decides: ``Field(merge="sum")``. Without a policy, embedded models and dictionaries are merged member by
member, and lists of models by their ``merge_key``. Anything else is a clash, which only a person can settle.

Nothing here depends on a clock or on the order of calls, so two programs that merge the same versions agree.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple

from pydantic import BaseModel

from couchmodel._model.codec.fidelity import are_same
from couchmodel._model.schema.annotations import is_attachment
from couchmodel._model.schema.base import DocumentModel
from couchmodel._model.schema.field_options import StorageOptions, counts_equal_changes, storage_options
from couchmodel._model.schema.kinds import qualified_name

__all__ = ["UNKNOWN", "Merged", "Side", "merge_documents"]

Side = Literal["mine", "theirs"]


class _Unknown:
    """The value of a version that is not known."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = _Unknown()
"""The base of two versions whose common ancestor the store does not have any more."""

_GONE: Final = object()
"""The value of a member that a version does not have."""


class Merged(NamedTuple):
    """The merged values of the fields by name, those of undeclared members, and the paths of the fields that clash."""

    values: dict[str, Any]
    extra: dict[str, Any] | None
    clashes: set[str]


def merge_documents(base: Any, mine: DocumentModel, theirs: DocumentModel, prefer: Side = "theirs") -> Merged:
    """Merge two versions of a document. ``base`` is UNKNOWN if there is none. A clash takes the side ``prefer``.

    Versions of two types clash by their types, and the fields of both types are merged.
    """
    merge = _Merge(prefer)
    own = {
        name
        for name, info in type(mine).__pydantic_fields__.items()
        if name in ("id", "rev") or is_attachment(info.annotation)
    }
    values, extra = merge.members(base, mine, theirs, "", leaving_out=own)
    if qualified_name(type(mine)) != qualified_name(type(theirs)):
        merge.clashes.add(type(mine).__declared__.type_field)
    return Merged(values, extra, merge.clashes)


class _Merge:
    """One merge, which gathers the clashes."""

    def __init__(self, prefer: Side) -> None:
        self._prefer = prefer
        self.clashes: set[str] = set()

    def value(self, base: Any, mine: Any, theirs: Any, options: StorageOptions, path: str) -> Any:
        """Return the merged value of one place."""
        if base is not UNKNOWN and are_same(base, mine):
            return theirs
        if base is not UNKNOWN and are_same(base, theirs):
            return mine
        # Two sides that add 1 to a counter have equal values and two changes. A model or a dictionary may have such a
        # counter.
        if are_same(mine, theirs) and not _may_count(mine, options):
            return theirs
        if options.merge is not None:
            return self._by_policy(base, mine, theirs, options.merge, path)
        if options.merge_key is not None:
            return self._by_key(base, mine, theirs, options.merge_key, path)
        if isinstance(mine, BaseModel) and type(mine) is type(theirs):
            # A base of another class, as of a union, has no members to compare.
            return self._models(base if type(base) is type(mine) else UNKNOWN, mine, theirs, path)
        if isinstance(mine, dict) and isinstance(theirs, dict):
            return self._mappings(base if isinstance(base, dict) else UNKNOWN, mine, theirs, f"{path}.")
        return self._clash(mine, theirs, path)

    def _clash(self, mine: Any, theirs: Any, path: str) -> Any:
        self.clashes.add(path)
        return mine if self._prefer == "mine" else theirs

    def _by_policy(self, base: Any, mine: Any, theirs: Any, policy: Any, path: str) -> Any:
        if callable(policy):
            return policy(None if base is UNKNOWN else base, mine, theirs)
        if policy == "mine":
            return mine
        if policy == "theirs":
            return theirs
        if policy == "union":
            return _unite(base, mine, theirs)
        # None has no order and no sum.
        if None in (mine, theirs):
            return self._clash(mine, theirs, path)
        if policy == "max":
            return max(theirs, mine)
        if policy == "min":
            return min(theirs, mine)
        if base is UNKNOWN or base is None:  # without a base, a sum would count what both have twice
            return self._clash(mine, theirs, path)
        return theirs + (mine - base)

    def members(
        self, base: Any, mine: BaseModel, theirs: BaseModel, path: str, leaving_out: Collection[str] = ()
    ) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """Return the merged values of the fields that two models share, and of their undeclared members."""
        values = {}
        for name, info in type(mine).__pydantic_fields__.items():
            if name in leaving_out or name not in type(theirs).__pydantic_fields__:
                continue
            before, ours, others = getattr(base, name, UNKNOWN), getattr(mine, name), getattr(theirs, name)
            if _is_default(base, name) and _is_default(theirs, name):
                values[name] = ours  # a default may be another value each time, as that of a clock
            # A default that was changed in place, as by ``append``, does not count as set for pydantic.
            elif _is_default(base, name) and _is_default(mine, name) and not isinstance(ours, _CHANGED_IN_PLACE):
                values[name] = others
            else:
                values[name] = self.value(before, ours, others, storage_options(info), f"{path}{name}")
        extra = theirs.__pydantic_extra__
        if extra is not None:
            before = UNKNOWN if base is UNKNOWN else base.__pydantic_extra__ or {}
            extra = self._mappings(before, mine.__pydantic_extra__ or {}, extra, path)
        return values, extra

    def _models(self, base: Any, mine: BaseModel, theirs: BaseModel, path: str) -> BaseModel:
        values, extra = self.members(base, mine, theirs, f"{path}.")
        # ``model_copy`` does not validate. The document is validated as a whole when it is saved.
        merged = theirs.model_copy(update=values)
        object.__setattr__(merged, "__pydantic_extra__", extra)
        return merged

    def _mappings(self, base: Any, mine: Mapping[Any, Any], theirs: Mapping[Any, Any], path: str) -> dict[Any, Any]:
        """Merge member by member. A member that one side has removed is gone, unless the other has changed it."""
        merged = {}
        for key in dict.fromkeys((*theirs, *mine)):
            before = UNKNOWN if base is UNKNOWN else base.get(key, _GONE)
            value = self._member(before, mine.get(key, _GONE), theirs.get(key, _GONE), f"{path}{key}")
            if value is not _GONE:
                merged[key] = value
        return merged

    def _member(self, base: Any, mine: Any, theirs: Any, path: str) -> Any:
        if _GONE not in (mine, theirs):
            return self.value(UNKNOWN if base is _GONE else base, mine, theirs, _NO_OPTIONS, path)
        if base in (UNKNOWN, _GONE):  # one side has added it
            return theirs if mine is _GONE else mine
        kept = theirs if mine is _GONE else mine
        return _GONE if are_same(base, kept) else self._clash(mine, theirs, path)

    def _by_key(self, base: Any, mine: Any, theirs: Any, key: str, path: str) -> Any:
        """Merge lists of models as if they were dictionaries by one of their fields. New ones come last.

        The order is theirs, or mine if they have not changed that of the base.
        """
        try:
            before = UNKNOWN if base is UNKNOWN else _keyed(base, key)
            ours, others = _keyed(mine, key), _keyed(theirs, key)
        except (TypeError, LookupError, AttributeError):  # no list, or a key that several elements have
            return theirs if are_same(mine, theirs) else self._clash(mine, theirs, path)
        merged = self._mappings(before, ours, others, f"{path}.")
        # They have left the order of the elements as it was, so mine counts.
        if isinstance(before, dict) and _common(others, before) == _common(before, others):
            first = [name for name in ours if name in before]
            merged = {name: merged[name] for name in dict.fromkeys((*first, *merged)) if name in merged}
        return list(merged.values())


_NO_OPTIONS: Final = StorageOptions()


def _may_count(value: Any, options: StorageOptions) -> bool:
    """Return True if two sides that have changed a place to this value may have made two changes."""
    if options.merge is not None:
        return counts_equal_changes(options.merge)
    return options.merge_key is not None or isinstance(value, (BaseModel, dict))


_CHANGED_IN_PLACE: Final = (list, dict, set, BaseModel)
"""The types of values that may have changed though the field was not assigned."""


def _keyed(elements: Iterable[Any], key: str) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for element in elements:
        name = element[key] if isinstance(element, Mapping) else getattr(element, key)
        if name in found:
            raise LookupError(name)
        found[name] = element
    return found


def _common(one: Mapping[Any, Any], other: Mapping[Any, Any]) -> list[Any]:
    return [name for name in one if name in other]


def _is_default(version: Any, name: str) -> bool:
    """Return True if a version has the default of a field, which was neither loaded nor assigned."""
    return version is not UNKNOWN and name not in version.__pydantic_fields_set__


def _unite(base: Any, mine: Any, theirs: Any) -> Any:
    """Return what either side has, without what one side has removed. The order is theirs; what is new comes last."""
    if isinstance(theirs, Mapping) or isinstance(mine, Mapping):
        return _unite_mappings({} if base in (UNKNOWN, None) else base, mine or {}, theirs or {})
    known: list[Any] = [] if base in (UNKNOWN, None) else list(base)
    ours, others = list(mine or ()), list(theirs or ())
    removed_by_me = [each for each in known if not _has(ours, each)]
    removed_by_them = [each for each in known if not _has(others, each)]
    kept = [each for each in others if not _has(removed_by_me, each)]
    added = [each for each in ours if not _has(others, each) and not _has(removed_by_them, each)]
    kind: Callable[[list[Any]], Any] = type(theirs if theirs is not None else mine)
    return kind([*kept, *added])


def _unite_mappings(base: Mapping[Any, Any], mine: Mapping[Any, Any], theirs: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return the members that either has. One that both have is theirs, unless only I have changed it, or both have."""
    united = {}
    for key in dict.fromkeys((*theirs, *mine)):
        if key in base and (key not in mine or key not in theirs):
            continue
        is_mine = key not in theirs or (key in mine and not (key in base and are_same(base[key], mine[key])))
        united[key] = mine[key] if is_mine else theirs[key]
    return united


def _has(elements: Iterable[Any], wanted: Any) -> bool:
    return any(are_same(each, wanted) for each in elements)
