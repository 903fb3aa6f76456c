"""Models made at random: fields of every kind, nested at will, with values that fit them.

    python -m tests.model.stored_form.generated --models 5000

makes many models, stores documents of each, and reads them again. It prints one line of figures, and fails if a value
was lost or changed, or refused without a sentence.
"""

import argparse
import collections
import dataclasses
import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from random import Random
from typing import Annotated, Any, Final, Generic, Literal, NamedTuple, Optional, TypeVar, Union
from uuid import UUID

from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    ConfigDict,
    Json,
    PydanticUserError,
    RootModel,
    SerializeAsAny,
    ValidationError,
    computed_field,
    create_model,
)
from pydantic.dataclasses import dataclass as pydantic_dataclass
from typing_extensions import TypedDict

from couchmodel import ConfigurationError, CouchModel, DocumentError, Field
from couchmodel._model.codec import codec
from couchmodel._model.codec.fidelity import find_difference
from couchmodel._wire.messages import decode

T = TypeVar("T")
Make = Callable[[], Any]


class Kind(NamedTuple):
    """A type of a field, and the function that makes a value of it for the constructor."""

    annotation: Any
    make: Make


class Colour(Enum):
    RED = "red"
    TWO = 2


class Level(IntEnum):
    LOW = 1
    HIGH = 9


class Pair(NamedTuple):
    left: int
    right: str = ""


class Entry(TypedDict, total=False):
    name: str
    at: datetime


def _of(container: Any, *arguments: Any) -> Any:
    """Return a type of containers with its arguments, which no type checker could know."""
    first, *others = arguments
    return container[(first, *others) if others else first]


class Generated:
    """A source of models, from one seed."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.number = 0

    def model(self) -> type[CouchModel]:
        """Return a model of a few fields. Raises ConfigurationError if the class is refused."""
        keywords = self.random.choice([{}, {}, {}, {"type": "thing"}, {"type": "thing", "type_field": "kind of"}])
        model: type[CouchModel] = self._model(CouchModel, 3, keywords)
        return model

    def _model(self, base: Any, depth: int, keywords: dict[str, Any]) -> Any:
        self.number += 1
        fields, makes = {}, {}
        for n in range(self.random.randint(1, 5)):
            kind = self.kind(depth - 1)
            name = self.random.choice(["a", "b", "name", "value", "size", "path", "x_1"]) + str(n)
            fields[name], key = self._field(kind, name)
            makes[key] = kind.make
        config = self._config(base)
        model = create_model(
            f"Model{self.number}", __base__=self._with_config(base, config), __cls_kwargs__=keywords, **fields
        )
        if self.random.random() < 0.2:
            model = self._computed(model)
        model.__makes__ = makes  # pyright: ignore[reportAttributeAccessIssue]
        return model

    def _with_config(self, base: Any, config: Any) -> Any:
        return type(
            f"Base{self.number}", (base,), {"model_config": config, "__module__": __name__, "__annotations__": {}}
        )

    def _computed(self, model: Any) -> Any:
        def length(self: Any) -> int:
            return len(type(self).model_fields)

        length.__annotations__["return"] = int
        body = {"length_of": computed_field(property(length)), "__module__": __name__, "__annotations__": {}}
        return type(f"{model.__name__}Computed", (model,), body)

    def _config(self, base: Any) -> Any:
        config: Any = ConfigDict()
        choices: dict[str, list[Any]] = {
            "ser_json_bytes": ["base64", "hex"],
            "val_json_bytes": ["base64"],
            "ser_json_timedelta": ["float", "iso8601"],
            "frozen": [True] if base is BaseModel else [],
            "extra": ["ignore", "forbid", "allow"],
            "populate_by_name": [True],
            "use_enum_values": [True],
            "ser_json_inf_nan": ["null", "strings"],
        }
        for name, values in choices.items():
            if values and self.random.random() < 0.15:
                config[name] = self.random.choice(values)
        return config

    def _field(self, kind: Kind, name: str) -> tuple[Any, str]:
        """Return the definition of a field for create_model, and the name by which the constructor takes it."""
        options: dict[str, Any] = {}
        key = name
        match self.random.randint(0, 12):
            case 0:
                options["alias"] = key = f"{name} alias"
            case 1:
                options["serialization_alias"] = f"{name}.out"
            case 2:
                options["validation_alias"] = key = f"{name}-in"
            case 3:
                options["validation_alias"] = AliasChoices(f"{name}_old", f"{name}_new")
                key = f"{name}_new"
            case 4:
                options |= {"stored_as": f"{name}$stored"}
            case 5:
                options["exclude"] = True
            case 6:
                options["exclude_if"] = lambda value: not value
            case 7:
                options |= {
                    "validation_alias": AliasChoices(name, AliasPath(f"{name}_at", 0)),
                    "serialization_alias": "o" + name,
                }
        return (kind.annotation, Field(**options)), key

    # --- kinds of fields

    def kind(self, depth: int) -> Kind:
        """Return a type, of at most ``depth`` levels."""
        if depth <= 0 or self.random.random() < 0.45:
            return self.random.choice(self._plain())()
        return self.random.choice(self._nested())(depth - 1)

    def _plain(self) -> list[Callable[[], Kind]]:
        pick, number = self.random.choice, self.random.randint
        instants = (
            lambda: datetime(
                number(1, 9998), number(1, 12), number(1, 28), number(0, 23), 0, 0, pick([0, 0, 5, 500_000]), UTC
            ),
            lambda: datetime(2026, 1, 1, 5, 0, 0, 0, timezone(timedelta(minutes=number(-800, 800)))),
            lambda: datetime(2026, 1, number(1, 28), 5, 0, number(0, 59)),  # noqa: DTZ001
        )
        texts = [
            "",
            "a",
            "2026-05-01T12:30:00Z",
            '"at":"2026-05-01T12:30:00Z"',
            "ü\n\u2028",
            "NaN",
            "😀",
            "\x00",
            "1",
            "true",
        ]
        return [
            lambda: Kind(int, lambda: pick([0, -1, 2**53, 2**70, number(-(10**9), 10**9)])),
            lambda: Kind(
                float, lambda: pick([0.0, -0.0, 1.5, 1e300, -1e-300, 3.0, float("nan"), float("inf")] + [0.5] * 9)
            ),
            lambda: Kind(bool, lambda: pick([True, False])),
            lambda: Kind(str, lambda: pick(texts)),
            lambda: Kind(datetime, lambda: pick(instants)()),  # noqa: PLW0108 - another for each value
            lambda: Kind(datetime, instants[0]),
            lambda: Kind(date, lambda: date(number(1, 9999), 2, 3)),
            lambda: Kind(time, lambda: time(number(0, 23), 4, 5, pick([0, 6]))),
            lambda: Kind(timedelta, lambda: timedelta(microseconds=number(-(10**15), 10**15))),
            lambda: Kind(Decimal, lambda: Decimal(number(-(10**9), 10**9)).scaleb(number(-30, 30))),
            lambda: Kind(Annotated[Decimal, Field(decimal_places=2)], lambda: Decimal(number(-(10**6), 10**6)) / 100),
            lambda: Kind(UUID, lambda: UUID(int=number(0, 2**128 - 1))),
            lambda: Kind(bytes, lambda: self.random.randbytes(number(0, 5))),
            lambda: Kind(Colour, lambda: pick(list(Colour))),
            lambda: Kind(Level, lambda: pick(list(Level))),
            lambda: Kind(Literal["a", 1] | None, lambda: pick(["a", 1, None])),
            lambda: Kind(
                Any, lambda: pick([None, 1, "x", [1, {"a": None}], {"n": 1.5}, float("nan"), date(2026, 1, 1)])
            ),
            lambda: Kind(type(None), lambda: None),
            lambda: Kind(Pair, lambda: Pair(number(0, 9), "x")),
            lambda: Kind(Entry, lambda: pick([{}, {"name": "x"}, {"at": instants[0]()}])),
            lambda: Kind(Json[list[int]], lambda: "[1, 2]"),
        ]

    def _nested(self) -> list[Callable[[int], Kind]]:
        return [
            self._list,
            self._list,
            self._set,
            self._tuple,
            self._dict,
            self._optional,
            self._union,
            self._embedded,
            self._embedded,
            self._embedded,
            self._serialize_as_any,
            self._root,
            self._dataclass,
            self._generic,
            self._deque,
        ]

    def _several(self, make: Make, most: int = 3) -> list[Any]:
        return [make() for _ in range(self.random.randint(0, most))]

    def _list(self, depth: int) -> Kind:
        inner = self.kind(depth)
        return Kind(_of(list, inner.annotation), lambda: self._several(inner.make))

    def _deque(self, depth: int) -> Kind:
        inner = self.kind(depth)
        return Kind(_of(collections.deque, inner.annotation), lambda: collections.deque(self._several(inner.make)))

    def _set(self, _: int) -> Kind:
        kinds = [
            Kind(str, lambda: self.random.choice("abc")),
            Kind(int, lambda: self.random.randint(0, 99)),
            Kind(Colour, lambda: Colour.RED),
        ]
        inner = self.random.choice(kinds)
        collection: Any = self.random.choice([set, frozenset])
        return Kind(_of(collection, inner.annotation), lambda: collection(self._several(inner.make)))

    def _tuple(self, depth: int) -> Kind:
        first, second = self.kind(depth), self.kind(depth)
        if self.random.random() < 0.5:
            return Kind(_of(tuple, first.annotation, ...), lambda: tuple(self._several(first.make)))
        return Kind(_of(tuple, first.annotation, second.annotation), lambda: (first.make(), second.make()))

    def _dict(self, depth: int) -> Kind:
        keys = [
            Kind(str, lambda: self.random.choice(["", "a", "a.b", "$x", "at", "\\", "_id"])),
            Kind(int, lambda: self.random.randint(-5, 5)),
            Kind(date, lambda: date(2026, 1, self.random.randint(1, 28))),
            Kind(UUID, lambda: UUID(int=self.random.randint(0, 9))),
            Kind(Colour, lambda: self.random.choice(list(Colour))),
            Kind(bool, lambda: True),
            Kind(datetime, lambda: datetime(2026, 1, 1, 1, self.random.randint(0, 59), tzinfo=UTC)),
        ]
        key, value = self.random.choice([keys[0], keys[0], *keys]), self.kind(depth)
        return Kind(
            _of(dict, key.annotation, value.annotation),
            lambda: {key.make(): value.make() for _ in range(self.random.randint(0, 3))},
        )

    def _optional(self, depth: int) -> Kind:
        inner = self.kind(depth)
        return Kind(Optional[inner.annotation], lambda: self.random.choice([None, inner.make()]))  # noqa: UP045

    def _union(self, depth: int) -> Kind:
        kinds = [self.kind(depth) for _ in range(self.random.randint(2, 3))]
        annotation = _of(Union, *(kind.annotation for kind in kinds))
        return Kind(annotation, lambda: self.random.choice(kinds).make())

    def _embedded(self, depth: int) -> Kind:
        model = self._model(BaseModel, depth, {})
        return Kind(model, lambda: fill(model))

    def _serialize_as_any(self, depth: int) -> Kind:
        model: Any = self._model(BaseModel, depth, {})
        longer: Any = create_model(f"{model.__name__}Longer", __base__=model, more=(int, 5))
        longer.__makes__ = model.__makes__
        annotation = self.random.choice([model, _of(SerializeAsAny, model)])
        return Kind(annotation, lambda: fill(self.random.choice([model, model, longer])))

    def _root(self, depth: int) -> Kind:
        inner = self.kind(depth)
        root = _of(RootModel, inner.annotation)
        return Kind(root, lambda: root(inner.make()))

    def _dataclass(self, depth: int) -> Kind:
        inner = self.kind(depth)
        self.number += 1
        decorate: Any = self.random.choice([pydantic_dataclass, dataclasses.dataclass])
        made: Any = type(f"Data{self.number}", (), {"__annotations__": {"inner": inner.annotation, "n": int}, "n": 0})
        made = decorate(made)
        return Kind(made, lambda: made(inner.make(), 3))

    def _generic(self, depth: int) -> Kind:
        inner = self.kind(depth)
        self.number += 1
        box: Any = type(
            f"Box{self.number}",
            (BaseModel, _of(Generic, T)),
            {"__annotations__": {"content": T}, "__module__": __name__},
        )
        made = _of(box, inner.annotation)
        return Kind(made, lambda: made(content=inner.make()))


def fill(model: Any) -> Any:
    """Return an object of a generated model. Raises ValidationError if its values do not fit."""
    return model(**{name: make() for name, make in model.__makes__.items()})


class Outcome(NamedTuple):
    """What became of a document: a word, and the error if there was one."""

    word: str
    error: str = ""


def check(document: CouchModel) -> Outcome:
    """Store a document and read it again. Raises AssertionError if it was not the same."""
    try:
        body = codec.body_to_send(document)
    except DocumentError as error:
        return Outcome("refused", str(error))
    assert body is not None
    stored = decode(body)
    again = codec.load(type(document), body)
    difference = find_difference(document, again)
    assert difference is None, f"{difference}\n  stored as {stored}"
    again.rev = "1-a"
    state_body = codec.body_to_send(codec.load(type(document), codec.prepend_members({"_rev": "1-a"}, body)))
    assert state_body is None, f"a document that was only loaded counts as changed: {state_body!r}"
    return Outcome("stored")


def run(models: int, seed: int) -> tuple[Counter[str], list[str], list[str]]:
    """Make models and check documents of each. Return the counts of outcomes, the faults and the refusals."""
    counts: Counter[str] = Counter()
    faults: list[str] = []
    refusals: list[str] = []
    for n in range(models):
        source = Generated(seed + n)
        try:
            model = source.model()
        except ConfigurationError as error:
            counts["classes refused"] += 1
            refusals.append(str(error))
            continue
        except (ValidationError, PydanticUserError, TypeError, NameError):
            counts["impossible"] += 1
            continue
        for _ in range(3):
            try:
                document = fill(model)
            except (ValidationError, TypeError):
                counts["invalid"] += 1
                continue
            try:
                outcome = check(document)
            except Exception as error:  # noqa: BLE001 - each is a fault to be told
                faults.append(f"seed {seed + n}: {type(error).__name__}: {error}\n  {document!r}")
                counts["faults"] += 1
            else:
                counts[outcome.word] += 1
                if outcome.error:
                    refusals.append(outcome.error)
    return counts, faults, refusals


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--refusals", type=int, default=0, help="print so many of the sentences")
    options = parser.parse_args()
    counts, faults, refusals = run(options.models, options.seed)
    print(f"{options.models} models: {', '.join(f'{count} {word}' for word, count in sorted(counts.items()))}")
    for text in [*faults[:20], *refusals[: options.refusals]]:
        print(text)
    return 1 if faults else 0


LEAST_STORED: Final = 0.3
"""The share of documents that has to be stored, so that a run which refuses everything does not pass."""


if __name__ == "__main__":
    sys.exit(main())
