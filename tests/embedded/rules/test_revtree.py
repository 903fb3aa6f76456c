"""The revision tree: the laws that make replicas agree, and CouchDB's rules for a write."""

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from couchmodel._embedded.documents.parents import parent_for
from couchmodel._embedded.rules.revtree import RevTree
from couchmodel._wire.revisions import Rev
from couchmodel.errors import ConflictError

History = tuple[list[Rev], bool]


def path(text: str) -> list[Rev]:
    """The revisions that a string names, newest first."""
    return [*map(Rev.parse, text.split())]


def tree(*histories: str) -> RevTree:
    """The tree of histories, newest first; one that begins with a cross ends in a tombstone."""
    grown = RevTree.empty()
    for history in histories:
        grown = grown.merge(path(history.removeprefix("x ")), deleted=history.startswith("x "))
    return grown


def names(revs: Sequence[Rev]) -> str:
    return " ".join(map(str, revs))


@st.composite
def documents(draw: st.DrawFn) -> list[History]:
    """Histories of one document, as replicas may send them: each revision has one parent and is deleted or not."""
    size = draw(st.integers(1, 20))
    parents: dict[Rev, Rev | None] = {}
    for number in range(size):
        parent = draw(st.sampled_from([None, *parents]))
        digest = draw(st.sampled_from(["abcdef", "0123456789abcdef" * 2])) + str(number)
        parents[Rev(1 if parent is None else parent.generation + 1, digest[-32:])] = parent
    tombstones = {rev for rev in parents if draw(st.booleans())}
    tips = draw(st.lists(st.sampled_from([*parents]), min_size=1, max_size=16))
    return [(_history(tip, parents)[: draw(st.integers(1, 21))], tip in tombstones) for tip in tips]


def _history(tip: Rev | None, parents: dict[Rev, Rev | None]) -> list[Rev]:
    revs: list[Rev] = []
    while tip is not None:
        revs.append(tip)
        tip = parents[tip]
    return revs


def merged(histories: Sequence[History], start: RevTree | None = None) -> RevTree:
    grown = start or RevTree.empty()
    for revs, deleted in histories:
        grown = grown.merge(revs, deleted=deleted)
    return grown


@given(documents(), st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_show(histories: list[History], rnd: random.Random) -> None:
    shuffled = rnd.sample(histories, len(histories))
    assert merged(shuffled) == merged(histories)
    assert merged(shuffled).to_bytes() == merged(histories).to_bytes()


@given(documents())
def test_what_arrives_again_changes_nothing(histories: list[History]) -> None:
    grown = merged(histories)
    assert merged(histories, grown) == grown
    assert all(grown.merge(revs, deleted=deleted).leaves == grown.leaves for revs, deleted in histories)


@given(documents(), st.data())
def test_replicas_that_tell_each_other_their_leaves_agree(histories: list[History], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(histories)))
    here, there = merged(histories[:cut]), merged(histories[cut:])
    told_here, told_there = merged(_leaf_histories(there), here), merged(_leaf_histories(here), there)
    assert told_here.leaves == told_there.leaves == merged(histories).leaves
    assert told_here.deleted == told_there.deleted


def _leaf_histories(known: RevTree) -> list[History]:
    return [(known.path(leaf), known.is_deleted(leaf)) for leaf in known.leaves]


@given(documents())
def test_the_winner_is_the_highest_leaf_and_undeleted_if_there_is_one(histories: list[History]) -> None:
    grown = merged(histories)
    ranks = [(not grown.is_deleted(leaf), leaf.rank) for leaf in grown.leaves]
    assert ranks == sorted(ranks, reverse=True)
    assert grown.winner == grown.leaves[0]
    assert grown.deleted == all(map(grown.is_deleted, grown.leaves))
    assert {grown.winner, *grown.conflicts, *grown.deleted_conflicts} == {*grown.leaves}


@given(documents())
def test_a_leaf_is_what_no_history_continues(histories: list[History]) -> None:
    grown = merged(histories)
    continued = {rev for revs, _ in histories for rev in revs[1:]}
    assert {*grown.leaves} == {revs[0] for revs, _ in histories} - continued


@given(documents(), st.integers(1, 5))
def test_stemming_keeps_the_leaves_and_the_newest_of_each_history(histories: list[History], limit: int) -> None:
    grown = merged(histories)
    stemmed = grown.stem(limit)
    assert stemmed.leaves == grown.leaves
    assert stemmed.stem(limit) == stemmed
    for leaf in grown.leaves:
        assert stemmed.path(leaf)[:limit] == grown.path(leaf)[:limit]
        assert stemmed.is_deleted(leaf) == grown.is_deleted(leaf)


@given(documents(), st.integers(1, 5))
def test_a_tree_survives_its_bytes(histories: list[History], limit: int) -> None:
    grown = merged(histories).stem(limit)
    again = RevTree.from_bytes(grown.to_bytes())
    assert again == grown
    assert hash(again) == hash(grown)
    assert [again.path(leaf) for leaf in again.leaves] == [grown.path(leaf) for leaf in grown.leaves]


@given(documents())
def test_the_quick_ways_lead_where_the_long_way_leads(histories: list[History]) -> None:
    quick, long = RevTree.empty(), RevTree.empty()
    for revs, deleted in histories:
        quick = quick.merge(revs, deleted=deleted)
        long = long._merge_any(revs, deleted=deleted, stored=True)
        assert quick == long


@pytest.mark.parametrize(
    ("histories", "arriving", "leaves"),
    [
        ([], "1-a", "1-a"),
        (["1-a"], "1-a", "1-a"),
        (["1-a"], "2-b 1-a", "2-b"),
        (["2-b 1-a"], "2-c 1-a", "2-c 2-b"),
        (["2-b 1-a"], "1-a", "2-b"),
        (["1-a"], "1-b", "1-b 1-a"),
        (["1-a"], "4-d 3-c 2-b 1-a", "4-d"),
        (["3-c"], "4-d 3-c 2-b 1-a", "4-d"),
        (["3-c"], "2-b 1-a", "3-c 2-b"),
        (["3-c", "2-b 1-a"], "3-c 2-b", "3-c"),
        (["3-c 2-b 1-a"], "3-d 2-b", "3-d 3-c"),
        (["3-c 2-b 1-a"], "4-d", "4-d 3-c"),
        (["2-b 1-a"], "2-b 1-x", "2-b"),
    ],
)
def test_a_history_adds_what_is_not_there_yet(histories: list[str], arriving: str, leaves: str) -> None:
    assert names(tree(*histories).merge(path(arriving)).leaves) == leaves


def test_a_longer_history_fills_in_the_parents_that_were_missing() -> None:
    grown = tree("5-e 4-d", "3-c", "4-d 3-c 2-b 1-a")
    assert names(grown.path(Rev(5, "e"))) == "5-e 4-d 3-c 2-b 1-a"


def test_an_ancestor_becomes_known_without_a_body_until_it_arrives_itself() -> None:
    grown = tree("x 3-c 2-b 1-a")
    assert [grown.is_stored(rev) for rev in path("3-c 2-b 1-a 9-z")] == [True, False, False, False]
    filled = grown.merge(path("2-b"), deleted=True)
    assert [filled.is_stored(rev) for rev in path("3-c 2-b 1-a")] == [True, True, False]
    assert [filled.is_deleted(rev) for rev in path("3-c 2-b 1-a 9-z")] == [True, True, False, False]


def test_a_revision_can_become_known_without_a_body() -> None:
    grown = tree("1-a").merge(path("2-b 1-a"), stored=False)
    assert names(grown.leaves) == "2-b"
    assert not grown.is_stored(Rev(2, "b"))


def test_what_a_revision_is_does_not_change_when_it_arrives_again() -> None:
    grown = tree("x 2-b 1-a").merge(path("2-b 1-a"), deleted=False)
    assert grown.is_deleted(Rev(2, "b"))


def test_the_leaves_that_descend_from_a_revision_are_its_latest() -> None:
    grown = tree("3-c 2-b 1-a", "3-d 2-b", "2-e 1-a", "1-z")
    assert names(grown.latest(Rev(2, "b"))) == "3-d 3-c"
    assert names(grown.latest(Rev(1, "a"))) == "3-d 3-c 2-e"
    assert names(grown.latest(Rev(1, "z"))) == "1-z"
    assert grown.latest(Rev(9, "z")) == []


def test_what_a_tree_does_not_know_is_missing() -> None:
    grown = tree("2-b 1-a")
    assert names(grown.missing(path("3-c 2-b 1-a 1-b"))) == "3-c 1-b"
    assert grown.path(Rev(3, "c")) == []
    assert "2-b" not in grown


def test_a_tree_names_its_leaves() -> None:
    assert repr(tree("2-b 1-a", "x 3-d 2-c")) == "<RevTree 2-b, 3-d>"
    assert not RevTree.empty()


def test_a_revision_extends_the_tree_on_top_of_its_parent() -> None:
    grown = RevTree.empty().extend(None, Rev(1, "a")).extend(Rev(1, "a"), Rev(2, "b"), deleted=True)
    assert grown == tree("1-a", "x 2-b 1-a")
    assert grown.deleted


def test_a_fork_stays_as_long_as_a_leaf_is_near() -> None:
    stemmed = tree("5-e 4-d 3-c 2-b 1-a", "2-z 1-a").stem(2)
    assert names(stemmed.path(Rev(5, "e"))) == "5-e 4-d"
    assert names(stemmed.path(Rev(2, "z"))) == "2-z 1-a"


@pytest.mark.parametrize("deleting", [False, True])
@pytest.mark.parametrize(
    ("histories", "given", "parent"),
    [
        ([], None, None),
        ([], Rev(2, "x"), Rev(2, "x")),
        (["2-b 1-a"], Rev(2, "b"), Rev(2, "b")),
        (["2-b 1-a", "2-c 1-a"], Rev(2, "b"), Rev(2, "b")),
        (["2-b 1-a", "x 2-c 1-a"], Rev(2, "c"), Rev(2, "c")),
    ],
)
def test_a_write_continues_any_leaf_of_a_living_document(
    histories: list[str], given: Rev | None, parent: Rev | None, deleting: bool
) -> None:
    assert parent_for(tree(*histories), given, deleting) == parent


@pytest.mark.parametrize(
    ("histories", "given", "deleting"),
    [
        (["2-b 1-a"], None, False),
        (["2-b 1-a"], None, True),
        (["2-b 1-a"], Rev(1, "a"), False),
        (["2-b 1-a"], Rev(2, "x"), False),
        (["x 2-b 1-a"], Rev(2, "b"), False),
        (["x 2-b 1-a"], Rev(1, "a"), False),
        (["x 2-b 1-a"], None, True),
        (["x 2-b 1-a"], Rev(2, "b"), True),
    ],
)
def test_a_write_on_top_of_anything_else_conflicts(histories: list[str], given: Rev | None, deleting: bool) -> None:
    with pytest.raises(ConflictError, match=r"Document update conflict\."):
        parent_for(tree(*histories), given, deleting)


@pytest.mark.parametrize("given", [None, Rev(0, "a")])
def test_a_deleted_document_comes_back_on_top_of_its_winning_tombstone(given: Rev | None) -> None:
    assert parent_for(tree("x 2-b 1-a", "x 3-d 2-c"), given, False) == Rev(3, "d")


def test_a_write_may_skip_revisions_if_its_history_leads_to_a_leaf() -> None:
    given, older = Rev(4, "d"), path("3-c 2-b 1-a")
    assert parent_for(tree("2-b 1-a"), given, False, older=older) == given
    with pytest.raises(ConflictError):
        parent_for(tree("2-b 1-a"), given, False, older=older, looked_up=True)
    with pytest.raises(ConflictError):
        parent_for(tree("2-b 1-a", "3-z 2-b"), given, False, older=older)


def test_a_write_that_is_looked_up_may_not_name_a_revision_of_a_missing_document() -> None:
    with pytest.raises(ConflictError):
        parent_for(None, Rev(1, "a"), False, looked_up=True)
    assert parent_for(None, None, False, looked_up=True) is None
