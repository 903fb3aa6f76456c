"""Three-way merges of documents, field by field.

``base`` is the version that both sides began with, ``mine`` and ``theirs`` are what they made of it. Where one side has
left a field as it was, the other side's value is taken. Where both have changed it, to different values, the policy of
the field decides: ``Field(merge="sum")``. Without a policy, embedded models and dictionaries are merged member by
member, and lists of models by their ``merge_key``. Anything else is a clash, which only a person can settle.

Nothing here depends on a clock or on the order of calls, so two programs that merge the same versions agree.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple

from pydantic import BaseModel

from couchmodel._model.codec.fidelity import find_difference, is_alike
from couchmodel._model.schema.annotations import is_attachment
from couchmodel._model.schema.field_options import StorageOptions, storage_options

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
    """The merged values of the fields by name, and the paths of the fields that clash."""

    values: dict[str, Any]
    clashes: set[str]


def merge_documents(base: Any, mine: BaseModel, theirs: BaseModel, prefer: Side = "theirs") -> Merged:
    """Merge two versions of a document. ``base`` is UNKNOWN if there is none. A clash takes the side ``prefer``."""
    merge = _Merge(prefer)
    values = {}
    for name, info in type(mine).__pydantic_fields__.items():
        if name in ("id", "rev") or is_attachment(info.annotation):
            continue
        ours, others = getattr(mine, name), getattr(theirs, name)
        values[name] = merge.value(getattr(base, name, UNKNOWN), ours, others, storage_options(info), name)
    return Merged(values, merge.clashes)


class _Merge:
    """One merge, which gathers the clashes."""

    def __init__(self, prefer: Side) -> None:
        self._prefer = prefer
        self.clashes: set[str] = set()

    def value(self, base: Any, mine: Any, theirs: Any, options: StorageOptions, path: str) -> Any:
        """Return the merged value of one place."""
        if _is_same(mine, theirs):
            return theirs
        if base is not UNKNOWN and _is_same(base, mine):
            return theirs
        if base is not UNKNOWN and _is_same(base, theirs):
            return mine
        if options.merge is not None:
            return self._by_policy(base, mine, theirs, options.merge, path)
        if options.merge_key is not None:
            return self._by_key(base, mine, theirs, options.merge_key, path)
        if isinstance(mine, BaseModel) and type(mine) is type(theirs):
            return self._models(base if type(base) is type(mine) else UNKNOWN, mine, theirs, path)
        if isinstance(mine, dict) and isinstance(theirs, dict):
            return self._mappings(base if isinstance(base, dict) else UNKNOWN, mine, theirs, path)
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
        if None in (mine, theirs):
            return self._clash(mine, theirs, path)
        if policy == "max":
            return max(theirs, mine)
        if policy == "min":
            return min(theirs, mine)
        if base is UNKNOWN or base is None:  # without a base, a sum would count what both have twice
            return self._clash(mine, theirs, path)
        return theirs + (mine - base)

    def _models(self, base: Any, mine: BaseModel, theirs: BaseModel, path: str) -> BaseModel:
        values = {}
        for name, info in type(mine).__pydantic_fields__.items():
            before, ours, others = getattr(base, name, UNKNOWN), getattr(mine, name), getattr(theirs, name)
            values[name] = self.value(before, ours, others, storage_options(info), f"{path}.{name}")
        return theirs.model_copy(update=values)

    def _mappings(self, base: Any, mine: Mapping[Any, Any], theirs: Mapping[Any, Any], path: str) -> dict[Any, Any]:
        """Merge member by member. A member that one side has removed is gone, unless the other has changed it."""
        merged = {}
        for key in dict.fromkeys((*theirs, *mine)):
            before = UNKNOWN if base is UNKNOWN else base.get(key, _GONE)
            value = self._member(before, mine.get(key, _GONE), theirs.get(key, _GONE), f"{path}.{key}")
            if value is not _GONE:
                merged[key] = value
        return merged

    def _member(self, base: Any, mine: Any, theirs: Any, path: str) -> Any:
        if _GONE not in (mine, theirs):
            return self.value(UNKNOWN if base is _GONE else base, mine, theirs, _NO_OPTIONS, path)
        if base in (UNKNOWN, _GONE):  # one side has added it
            return theirs if mine is _GONE else mine
        kept = theirs if mine is _GONE else mine
        return _GONE if _is_same(base, kept) else self._clash(mine, theirs, path)

    def _by_key(self, base: Any, mine: Any, theirs: Any, key: str, path: str) -> Any:
        """Merge lists of models as if they were dictionaries by one of their fields. New ones come last."""
        try:
            before = UNKNOWN if base is UNKNOWN else _keyed(base, key)
            return list(self._mappings(before, _keyed(mine, key), _keyed(theirs, key), path).values())
        except (TypeError, LookupError, AttributeError):  # no list, or a key that several elements have
            return self._clash(mine, theirs, path)


_NO_OPTIONS: Final = StorageOptions()


def _is_same(one: Any, other: Any) -> bool:
    return is_alike(one, other) or find_difference(one, other) is None


def _keyed(elements: Iterable[Any], key: str) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for element in elements:
        name = element[key] if isinstance(element, Mapping) else getattr(element, key)
        if name in found:
            raise LookupError(name)
        found[name] = element
    return found


def _unite(base: Any, mine: Any, theirs: Any) -> Any:
    """Return what either side has, without what one side has removed. The order is theirs; what is new comes last."""
    if isinstance(theirs, Mapping):
        removed = [] if base is UNKNOWN else [key for key in base if key not in mine or key not in theirs]
        return {key: value for key, value in {**theirs, **mine}.items() if key not in removed}
    known: list[Any] = [] if base in (UNKNOWN, None) else list(base)
    ours, others = list(mine or ()), list(theirs or ())
    removed_by_me = [each for each in known if not _has(ours, each)]
    removed_by_them = [each for each in known if not _has(others, each)]
    kept = [each for each in others if not _has(removed_by_me, each)]
    added = [each for each in ours if not _has(others, each) and not _has(removed_by_them, each)]
    kind: Callable[[list[Any]], Any] = type(theirs if theirs is not None else mine)
    return kind([*kept, *added])


def _has(elements: Iterable[Any], wanted: Any) -> bool:
    return any(_is_same(each, wanted) for each in elements)
