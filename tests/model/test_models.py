"""A model is a pydantic model, with all that pydantic's models can do."""

import copy
import pickle
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Generic, TypeVar
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    ValidationError,
    computed_field,
    create_model,
    field_serializer,
)

from couchmodel import (
    Attachment,
    Condition,
    ConfigurationError,
    CouchModel,
    DocumentError,
    Field,
    FieldExpression,
    Mapped,
    QueryError,
    attachment,
    col,
)
from couchmodel._model.codec import codec
from couchmodel._model.codec.forms import encode_operand
from couchmodel._model.query.selector import build_selector
from couchmodel._model.schema import state
from couchmodel._model.schema.expressions.places import place_of
from couchmodel._wire.messages import decode, encode
from tests.models import Author, Recipe

T = TypeVar("T")
M = TypeVar("M", bound=CouchModel)


class Cake(Recipe):
    title: Mapped[str] = Field(default="Cake")
    layers: int = 1
    drawing: Attachment = attachment()


class Tree(CouchModel):
    name: str = "leaf"
    children: "list[Tree]" = []
    later: "Later | None" = None


class Later(BaseModel):
    at: datetime


class Box(CouchModel, Generic[T]):
    content: T


class Colour(Enum):
    RED = "red"


class Odds(CouchModel):
    at: datetime | None = None
    aware: AwareDatetime | None = None
    tags: set[str] = set()
    price: Decimal = Decimal(1)
    colour: Colour = Colour.RED
    stored_by_another_name: int = Field(default=0, alias="n")
    number: float = 0.0


def saved(document: CouchModel) -> dict[str, object]:
    """The document as it would be stored."""
    decoded: dict[str, object] = decode(codec.body_to_send(document) or b"{}")
    return decoded


def loaded(model: type[M], **fields: object) -> M:
    return codec.load(model, encode({"_id": "x", "_rev": "1-a", **fields}))


def test_a_subclass_overrides_fields_and_keeps_attachments() -> None:
    cake = Cake()
    assert (cake.title, cake.layers, cake.rating) == ("Cake", 1, 0)
    assert saved(cake).keys() == {"_id", "title", "author", "ingredients", "rating", "created", "layers"}
    assert Cake.__declared__.database == Recipe.__declared__.database


@pytest.mark.parametrize(
    ("expression", "path"),
    [
        (Cake.title, "title"),
        (Cake.id, "_id"),
        (Cake.rev, "_rev"),
        (Cake.author.country, "author.country"),
        (Tree.children, "children"),
        (Box[int].content, "content"),  # type: ignore[misc]
        (Odds.stored_by_another_name, "n"),
        (create_model("Pie", __base__=Recipe, slices=(int, 8)).slices, "slices"),  # type: ignore[attr-defined]
        (FieldExpression(("a.b", "c\\d"), int), "a\\.b.c\\\\d"),
    ],
)
def test_a_field_of_the_class_is_an_expression(expression: object, path: str) -> None:
    assert isinstance(expression, FieldExpression)
    assert expression.path == path


def test_forward_references_are_resolved() -> None:
    tree = Tree(children=[Tree(id="b", later=Later(at=datetime(2024, 1, 1, tzinfo=UTC)))])
    assert saved(tree)["children"] != []
    assert Tree.later.at.path == "later.at"  # type: ignore[union-attr]


def test_a_copy_knows_what_is_stored() -> None:
    pie = loaded(Recipe, title="Pie", source="book")
    pickled: Recipe = pickle.loads(pickle.dumps(pie))  # noqa: S301
    for twin in (copy.copy(pie), copy.deepcopy(pie), pie.model_copy(), pickled):
        assert twin == pie
        assert codec.body_to_send(twin) is None
        twin.title = "Cake"
        assert saved(twin)["source"] == "book"


def test_an_api_sees_id_and_rev() -> None:
    assert {"id", "rev"} <= Recipe.model_json_schema()["properties"].keys()
    assert "_id" not in Recipe.model_json_schema(mode="serialization")["properties"]
    pie = Recipe.model_validate_json('{"id": "pie", "title": "Apple pie"}')
    assert pie.model_dump(mode="json")["id"] == "pie"


def test_a_stored_id_outweighs_a_member_of_that_name() -> None:
    pie = loaded(Recipe, title="Pie", id="something else")
    assert pie.id == "x"
    pie.title = "Cake"
    assert saved(pie)["id"] == "something else"


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (datetime(2024, 5, 1, 12, 30, tzinfo=UTC), "2024-05-01T12:30:00.000000Z"),
        (datetime(2024, 5, 1, 12, 30, 5, 250_000, UTC), "2024-05-01T12:30:05.250000Z"),
        (datetime(2024, 5, 1, 12, 30, tzinfo=timezone(timedelta(hours=2))), "2024-05-01T10:30:00.000000Z"),
        (datetime(2024, 5, 1, 12, 30, 0, 5, timezone(timedelta(hours=-2))), "2024-05-01T14:30:00.000005Z"),
        (datetime(2024, 5, 1, 12, 30), "2024-05-01T12:30:00.000000"),  # noqa: DTZ001 - what is not said is not made up
        (None, None),
    ],
)
def test_an_instant_is_stored_in_utc_and_at_a_fixed_width(value: datetime | None, stored: str | None) -> None:
    assert saved(Odds(at=value))["at"] == stored
    assert encode_operand(place_of(col(Odds.at)), value) == stored
    assert loaded(Odds, at=stored).at == value


@given(st.lists(st.datetimes(timezones=st.timezones()), min_size=2))
def test_instants_are_stored_in_their_order(instants: list[datetime]) -> None:
    # Zones of the past had offsets of seconds, which pydantic's own form cannot carry; UTC can.
    inside = [each for each in instants if 1 < each.year < 9999]
    stored = {each: str(saved(Odds(at=each))["at"]) for each in inside}
    assert [stored[each] for each in sorted(inside)] == sorted(stored[each] for each in inside)


def test_an_instant_without_a_zone_is_refused_where_one_is_asked_for() -> None:
    odds = Odds()
    odds.aware = datetime(2024, 5, 1)  # noqa: DTZ001
    with pytest.raises(DocumentError, match="aware"):
        codec.body_to_send(odds)


def test_a_set_is_stored_in_order_whatever_the_hashes() -> None:
    assert saved(Odds(tags={"c", "a", "b"}))["tags"] == ["a", "b", "c"]


def test_a_text_that_says_nan_is_welcome() -> None:
    assert saved(Recipe(title="NaN, or -Infinity"))["title"] == "NaN, or -Infinity"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_json_cannot_carry_is_named(value: float) -> None:
    with pytest.raises(DocumentError, match="number: JSON has no NaN"):
        codec.body_to_send(Odds(number=value))


def test_what_pydantic_refuses_it_refuses_here() -> None:
    with pytest.raises(ValidationError):
        Recipe(title="x", rating=6)


class Step(BaseModel):
    text: str


class Method(CouchModel):
    steps: list[Step]


PEEL, BAKE = {"text": "peel", "minutes": 5}, {"text": "bake", "minutes": 40}


@pytest.mark.parametrize(
    ("texts", "stored"),
    [
        (["wash", "peel", "bake"], [{"text": "wash"}, PEEL, BAKE]),
        (["bake", "peel"], [BAKE, PEEL]),
        (["bake"], [BAKE]),
        (["peel well", "bake"], [{"text": "peel well", "minutes": 5}, BAKE]),
        (["peel", "bake", "bake"], [PEEL, BAKE, {"text": "bake"}]),
        (["bake", "peel well"], [BAKE, {"text": "peel well"}]),
        (["wash", "peel well", "bake"], [{"text": "wash"}, {"text": "peel well"}, BAKE]),
        ([], []),
    ],
)
def test_unknown_members_stay_with_their_element(texts: list[str], stored: list[object]) -> None:
    method = loaded(Method, steps=[PEEL, BAKE])
    method.steps = [Step(text=text) for text in texts]
    assert saved(method)["steps"] == stored


def test_what_was_stored_is_kept_as_it_came() -> None:
    pie = loaded(Recipe, title="Pie")
    assert state.stored_body(pie) == b'{"_id":"x","_rev":"1-a","title":"Pie"}'
    assert codec.body_to_send(pie) is None
    pie.author = Author(name="Bob")
    assert saved(pie) == {
        "_id": "x",
        "_rev": "1-a",
        "title": "Pie",
        "author": {"name": "Bob", "country": None},
        "ingredients": [],
        "rating": 0,
        "created": None,
    }


class Slug(CouchModel):
    id: str = Field(default_factory=lambda: "made-here")
    name: str = ""


def test_an_id_with_a_default_of_its_own_is_read_from_the_store() -> None:
    assert Slug().id == "made-here"
    assert loaded(Slug, name="n").id == "x"
    assert loaded(Slug, name="n").rev == "1-a"
    assert saved(Slug(id="given")) == {"_id": "given", "name": ""}


def test_a_copy_without_a_revision_is_a_new_document() -> None:
    pie = loaded(Recipe, title="Pie", source="book")
    copied = pie.model_copy(update={"id": "y", "rev": None})
    assert saved(copied).keys() == {"_id", "title", "author", "ingredients", "rating", "created"}
    assert saved(copied)["_id"] == "y"
    pie.id = "y"
    with pytest.raises(ConfigurationError, match="cannot be changed to"):
        codec.body_to_send(pie)


class Loose(CouchModel):
    model_config = ConfigDict(extra="allow")
    photo: Attachment = attachment()


class Tight(CouchModel):
    model_config = ConfigDict(extra="forbid")
    name: str = ""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def initial(self) -> str:
        return self.name[:1]


def test_members_of_couchdb_are_no_extras_of_a_model() -> None:
    stubs = {"photo": {"stub": True}, "other": {"stub": True}}
    loose = loaded(Loose, _attachments=stubs, colour="red")
    assert loose.model_extra == {"colour": "red"}
    loose.colour = "blue"  # type: ignore[attr-defined]
    assert saved(loose) == {"_id": "x", "_rev": "1-a", "_attachments": stubs, "colour": "blue"}


def test_a_model_that_forbids_extras_takes_couchdbs_and_its_own_computed_ones() -> None:
    tight = loaded(Tight, name="Ada", initial="A", _attachments={"photo": {"stub": True}})
    tight.name = "Bob"
    assert saved(tight) == {"_id": "x", "_rev": "1-a", "_attachments": {"photo": {"stub": True}}, "name": "Bob"}
    with pytest.raises(DocumentError, match="colour"):
        loaded(Tight, name="Ada", colour="red")


class Flags(CouchModel):
    value: int | str | bool | float = 0
    several: list[bool | int] = []


@pytest.mark.parametrize(("old", "new"), [(1, True), (0, False), (True, 1), (1, 1.0), (1, "1")])
def test_values_that_python_takes_for_equal_are_changes(old: object, new: bool | float | str) -> None:
    flags = loaded(Flags, value=old, several=[0])
    flags.value = new
    assert (type(saved(flags)["value"]), saved(flags)["value"]) == (type(new), new)


def test_a_recursive_model_keeps_the_ids_of_what_it_embeds() -> None:
    tree = Tree(id="root", children=[Tree(id="child", children=[Tree(id="grandchild")])])
    stored = saved(tree)
    assert stored["_id"] == "root"
    assert stored["children"][0]["id"] == "child"  # type: ignore[index]
    again = codec.load(Tree, encode({**stored, "_rev": "1-a"}))
    assert again.children[0].children[0].id == "grandchild"


def test_a_field_that_an_api_leaves_out_is_stored() -> None:
    class User(CouchModel):
        hashed: str = Field(default="", exclude=True)

    assert saved(User(hashed="abc"))["hashed"] == "abc"
    assert "hashed" not in User(hashed="abc").model_dump()


def test_a_field_that_hides_a_verb_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="would hide the method find"):
        create_model("Hidden", __base__=CouchModel, find=(str, ""))


def test_an_attachment_is_declared_where_it_is_looked_for() -> None:
    class Mixin(BaseModel):
        photo: Attachment = attachment()

    with pytest.raises(ConfigurationError, match=r"photo: Attachment = attachment\(\)"):
        create_model("Mixed", __base__=(CouchModel, Mixin))
    with pytest.raises(ConfigurationError, match=r"photo: Attachment = attachment\(\)"):
        create_model("Bare", __base__=CouchModel, photo=(Attachment, ...))


class Timed(CouchModel):
    model_config = ConfigDict(ser_json_timedelta="float")
    stamp: datetime
    lasts: timedelta = timedelta(0)
    days: list[datetime] | None = None
    aware: AwareDatetime | None = None

    @field_serializer("stamp")
    def seconds(self, value: datetime) -> float:
        return value.timestamp()


def test_operands_are_written_as_the_field_is() -> None:
    noon = datetime(2024, 5, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    assert build_selector([col(Timed.stamp) > noon]) == {"stamp": {"$gt": noon.timestamp()}}
    assert build_selector([col(Timed.lasts) > timedelta(hours=1)]) == {"lasts": {"$gt": 3600.0}}
    assert build_selector([col(Timed.days).contains(noon)]) == {
        "days": {"$elemMatch": {"$eq": "2024-05-01T10:00:00.000000Z"}}
    }
    with pytest.raises(QueryError, match="aware"):
        build_selector([col(Timed.aware) > datetime(2024, 1, 1)])  # noqa: DTZ001


class Frozen(CouchModel):
    model_config = ConfigDict(frozen=True)
    name: str


@pytest.mark.parametrize("model", [Frozen, Slug])
def test_a_document_stays_equal_to_itself_when_it_is_saved(model: type[Frozen]) -> None:
    document = model(id="x", name="a")
    twin = document.model_copy(deep=True)
    before = hash(document) if model is Frozen else 0
    state.set_rev(document, "1-a")
    assert document == twin
    assert document != model(id="x", name="b")
    assert model is not Frozen or hash(document) == before


class Keyed(CouchModel):
    model_config = ConfigDict(frozen=True)
    name: str

    def __hash__(self) -> int:
        return hash(self.name)


def test_a_frozen_model_keeps_a_hash_of_its_own() -> None:
    assert hash(Keyed(name="a")) == hash("a")


class Kitchen(CouchModel):
    number: int = 0
    share: float = 0.0
    level: int = 0
    price: Decimal = Decimal(0)
    day: date = date(2026, 1, 1)
    at: datetime | None = None
    colours: set[Colour] = set()
    codes: tuple[UUID, ...] = ()
    shelves: list[timedelta] = []

    @field_serializer("level")
    def word(self, level: int) -> str:
        return f"level {level}"


K = Kitchen.fields
NAN = float("nan")


@pytest.mark.parametrize(
    ("condition", "selector"),
    [
        (K["number"] > 1.5, {"number": {"$gt": 1.5}}),
        (K["share"] > 1, {"share": {"$gt": 1}}),
        (K["level"] == 2, {"level": {"$eq": "level 2"}}),
        (K["colours"].contains(Colour.RED), {"colours": {"$elemMatch": {"$eq": "red"}}}),
        (K["codes"].contains(UUID(int=1)), {"codes": {"$elemMatch": {"$eq": str(UUID(int=1))}}}),
        (K["shelves"].contains_all([timedelta(minutes=1)]), {"shelves": {"$all": [60.0]}}),
        (K["shelves"].contains_any([timedelta(minutes=1)]), {"shelves": {"$elemMatch": {"$in": [60.0]}}}),
        (K["price"].between(Decimal("9.5"), Decimal(10)), None),
        (K["shelves"].size() == 2, {"shelves": {"$size": 2}}),
    ],
)
def test_operands_go_through_the_codec_of_their_field(condition: Condition, selector: object) -> None:
    made = build_selector([condition])
    assert selector is None or made == selector


@pytest.mark.parametrize(
    "condition",
    [
        K["number"] == "4",
        K["number"] < Decimal(4),
        K["day"] >= datetime(2026, 1, 1, tzinfo=UTC),
        K["at"] >= date(2026, 1, 1),
        K["price"] > 1,
        K["colours"].contains("red"),
        K["number"] > NAN,
        K["share"] > NAN,
    ],
)
def test_an_operand_of_the_wrong_type_is_refused(condition: Condition) -> None:
    with pytest.raises(QueryError, match="cannot be compared with"):
        build_selector([condition])


def test_attachments_and_deletions_never_come_from_input() -> None:
    loose = Loose.model_validate({"id": "x", "_attachments": {"photo": {"length": 1}}, "colour": "red"})
    assert vars(loose)["photo"] is None
    assert saved(loose) == {"_id": "x", "colour": "red"}
