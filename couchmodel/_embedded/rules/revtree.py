"""Keep the revision tree of a document: its revisions, their parents, its leaves and the winner.

The semantics are those of CouchDB's ``couch_key_tree.erl``.

Rule 1: a tree is a value. Every operation returns another tree.

Rule 2: a tree is a set of revisions and their parents, so it does not depend on the order in which revisions arrive.
A revision is identified by generation and digest. Its parent is unknown while only stemmed histories have arrived, and
is filled in by the first history that has it.

A tree is stored as its branches: the winner's first, each as long as possible. Nearly every document has a single
branch. Then the usual work (read the tree of a BLOB column, append a revision, write it back) does not depend on the
number of revisions, except for the time of the JSON parser.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from pydantic_core import from_json, to_json

from couchmodel._embedded import limits
from couchmodel._wire.revisions import Rev

__all__ = ["RevTree"]


class Branch(NamedTuple):
    """A leaf and its ancestors that are on no earlier branch of the tree.

    ``digests`` has their digests, oldest first, and ``start`` is the generation of the oldest. ``fork`` is the digest
    of the oldest one's parent, None if unknown. ``tombstones`` has the generations of deletions, ``bodiless`` those of
    revisions that came without a body.
    """

    start: int
    fork: str | None
    digests: list[str]
    tombstones: list[int]
    bodiless: list[int]

    @classmethod
    def from_path(cls, path: Sequence[Rev], *, deleted: bool, stored: bool) -> "Branch":
        """Return the branch of a revision and its history, newest first. Only the newest revision can have a body."""
        oldest, newest = path[-1].generation, path[0].generation
        bodiless = range(oldest, newest if stored else newest + 1)
        return cls(oldest, None, [rev.digest for rev in reversed(path)], [newest] if deleted else [], [*bodiless])

    @property
    def leaf(self) -> Rev:
        """The newest revision."""
        return Rev(self.start + len(self.digests) - 1, self.digests[-1])

    @property
    def root(self) -> Rev | None:
        """The parent of the oldest revision; None if unknown."""
        return None if self.fork is None else Rev(self.start - 1, self.fork)

    @property
    def deleted(self) -> bool:
        """True if the leaf is a tombstone."""
        return bool(self.tombstones) and self.tombstones[-1] == self.start + len(self.digests) - 1

    @property
    def order(self) -> tuple[bool, tuple[int, bytes]]:
        """The sort key of the branch; the highest comes first. The undeleted leaf with the highest revision wins."""
        return not self.deleted, self.leaf.rank

    def has(self, rev: Rev) -> bool:
        """Return True if a revision is on this branch."""
        age = rev.generation - self.start
        return 0 <= age < len(self.digests) and self.digests[age] == rev.digest

    def revs(self) -> list[Rev]:
        """Return the revisions, oldest first."""
        return list(map(Rev, range(self.start, self.start + len(self.digests)), self.digests))

    def revs_at(self, generations: Iterable[int]) -> list[Rev]:
        """Return the revisions of these generations."""
        return [Rev(generation, self.digests[generation - self.start]) for generation in generations]

    def ends_with(self, path: Sequence[Rev]) -> bool:
        """Return True if the branch ends with the revisions of a path, which is newest first."""
        return path[0] == self.leaf and self.digests[-len(path) :] == [rev.digest for rev in reversed(path)]

    def with_descendants(self, revs: Sequence[Rev], *, deleted: bool) -> "Branch":
        """Return the branch with descendants of its leaf, newest first. Only the newest one has a body."""
        newest = revs[0].generation
        return self._replace(
            digests=[*self.digests, *(rev.digest for rev in reversed(revs))],
            tombstones=[*self.tombstones, newest] if deleted else self.tombstones,
            bodiless=[*self.bodiless, *range(revs[-1].generation, newest)],
        )

    def stem(self, limit: int) -> "Branch":
        """Return the branch with only its ``limit`` newest revisions."""
        start = self.start + len(self.digests) - limit
        tombstones = [generation for generation in self.tombstones if generation >= start]
        bodiless = [generation for generation in self.bodiless if generation >= start]
        return Branch(start, None, self.digests[-limit:], tombstones, bodiless)


class RevTree:
    """The revisions of one document, including those whose bodies are no longer stored."""

    __slots__ = ("_branches", "_places", "_span")

    def __init__(self, branches: Sequence[Branch]) -> None:
        self._branches = branches
        self._places: dict[Rev, Branch] | None = None
        self._span: tuple[int, int] | None = None

    @classmethod
    def empty(cls) -> "RevTree":
        """Return the tree of a document that has no revision yet."""
        return cls(())

    @classmethod
    def from_path(cls, path: Sequence[Rev], *, deleted: bool = False, stored: bool = True) -> "RevTree":
        """Return the tree of a document that has one revision and its history, newest first: see :meth:`merge`."""
        return cls([Branch.from_path(path, deleted=deleted, stored=stored)])

    @classmethod
    def from_bytes(cls, data: bytes) -> "RevTree":
        """Read a tree that :meth:`to_bytes` wrote."""
        return cls([Branch(*fields) for fields in from_json(data)])

    def to_bytes(self) -> bytes:
        """Return the tree as JSON, for a BLOB column. Equal trees have equal bytes."""
        step = limits.WRITTEN_BRANCHES
        if len(self._branches) <= step:
            return _branches_json(self._branches)
        parts = range(0, len(self._branches), step)
        return b"[%b]" % b",".join(_branches_json(self._branches[start : start + step])[1:-1] for start in parts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RevTree) and [*self._branches] == [*other._branches]

    def __hash__(self) -> int:
        return hash(self.leaves)

    def __bool__(self) -> bool:
        return bool(self._branches)

    def __contains__(self, rev: object) -> bool:
        return isinstance(rev, Rev) and self._branch(rev) is not None

    def __repr__(self) -> str:
        return f"<RevTree {', '.join(map(str, self.leaves))}>"

    @property
    def leaves(self) -> tuple[Rev, ...]:
        """The revisions without descendants, in CouchDB's order: the winner first."""
        return tuple([branch.leaf for branch in self._branches])

    @property
    def winner(self) -> Rev:
        """The revision that is read by default. It is the same on every replica."""
        return self._branches[0].leaf

    @property
    def deleted(self) -> bool:
        """True if the document is deleted: all its leaves are tombstones."""
        return self._branches[0].deleted

    @property
    def conflicts(self) -> list[Rev]:
        """The undeleted leaves beside the winner."""
        return [branch.leaf for branch in self._branches[1:] if not branch.deleted]

    @property
    def deleted_conflicts(self) -> list[Rev]:
        """The deleted leaves beside the winner."""
        return [branch.leaf for branch in self._branches[1:] if branch.deleted]

    def is_leaf(self, rev: Rev | None) -> bool:
        """Return True if a revision is in the tree and has no descendants."""
        branch = self._branch(rev) if rev else None
        return branch is not None and branch.leaf == rev

    def is_deleted(self, rev: Rev) -> bool:
        """Return True if a revision is a tombstone."""
        branch = self._branch(rev)
        return branch is not None and rev.generation in branch.tombstones

    def is_stored(self, rev: Rev) -> bool:
        """Return True if a revision came with its body, not only as an ancestor of another one."""
        branch = self._branch(rev)
        return branch is not None and rev.generation not in branch.bodiless

    def path(self, rev: Rev) -> list[Rev]:
        """Return a revision and its known ancestors, newest first; an empty list if the revision is unknown."""
        path: list[Rev] = []
        step: Rev | None = rev
        while step is not None and (branch := self._branch(step)):
            path += branch.revs()[step.generation - branch.start :: -1]
            step = branch.root
        return path

    def latest(self, rev: Rev) -> list[Rev]:
        """Return the leaves that descend from a revision, in CouchDB's order; the revision itself if it is a leaf."""
        return [rev] if self.is_leaf(rev) else [leaf for leaf in self.leaves if rev in self.path(leaf)]

    def in_tree_order(self, revs: Iterable[Rev]) -> list[Rev]:
        """Sort revisions as CouchDB meets them when it walks the tree: the last root first, then children in order."""
        paths = sorted((self.path(rev) for rev in revs), key=lambda path: [rev.rank for rev in reversed(path)])
        paths.sort(key=lambda path: path[-1].rank, reverse=True)
        return [path[0] for path in paths]

    def missing(self, revs: Iterable[Rev]) -> list[Rev]:
        """Return the given revisions that are not in the tree."""
        return [rev for rev in revs if rev not in self]

    def merge(self, path: Sequence[Rev], *, deleted: bool = False, stored: bool = True) -> "RevTree":
        """Return the tree with a revision and its history, newest first.

        ``deleted`` and ``stored`` describe the newest revision. Its ancestors become known, without bodies. Revisions
        that are already in the tree stay as they are, except that a missing body or parent is filled in.
        """
        if not self._branches:
            return RevTree.from_path(path, deleted=deleted, stored=stored)
        if not stored:
            return self._merge_any(path, deleted=deleted, stored=False)
        if len(self._branches) == 1 and path[1:] and self._branches[0].ends_with(path[1:]):
            return RevTree([self._branches[0].with_descendants(path[:1], deleted=deleted)])
        # Most writes change one branch. The general way builds the whole tree anew.
        quick = self._merge_into_branch(path, deleted=deleted)
        return self._merge_any(path, deleted=deleted, stored=True) if quick is None else quick

    def extend(self, parent: Rev | None, new: Rev, *, deleted: bool = False) -> "RevTree":
        """Return the tree with one more stored revision, a child of ``parent``, or a root if that is None."""
        return self.merge([new] if parent is None else [new, parent], deleted=deleted)

    def without(self, leaves: Collection[Rev]) -> "RevTree":
        """Return the tree without some of its leaves, and without the ancestors that no other leaf has."""
        left = [leaf for leaf in self.leaves if leaf not in leaves]
        if len(left) == len(self._branches):
            return self
        kept = {rev for leaf in left for rev in self.path(leaf)}
        parents = {rev: parent for rev, parent in self._parents().items() if rev in kept}
        return _build_tree(parents, self._tombstones(), self._bodiless())

    def stem(self, limit: int) -> "RevTree":
        """Return the tree without revisions that are ``limit`` or more generations older than their nearest leaf."""
        if len(self._branches) == 1:
            branch = self._branches[0]
            return self if len(branch.digests) <= limit else RevTree([branch.stem(limit)])
        oldest, newest = self._generations()
        # No leaf can have an ancestor so old that it would be dropped.
        if newest - oldest < limit:
            return self
        kept = {rev for leaf in self.leaves for rev in self.path(leaf)[:limit]}
        parents = {rev: parent if parent in kept else None for rev, parent in self._parents().items() if rev in kept}
        return _build_tree(parents, self._tombstones(), self._bodiless())

    # --- Merging a path that changes one branch at most

    def _merge_into_branch(self, path: Sequence[Rev], *, deleted: bool) -> "RevTree | None":
        """Return the tree with a path that begins a branch or continues one; None if the path does more than that."""
        known = next((place for place, rev in enumerate(path) if rev in self), len(path))
        new, old = path[:known], path[known:]
        if not old:
            return self._insert(Branch.from_path(new, deleted=deleted, stored=True))
        branch = self._branch(old[0])
        if branch is None or not new or self.path(old[0])[: len(old)] != [*old]:
            return None
        if branch.leaf == old[0]:
            return self._replace_branch(branch, branch.with_descendants(new, deleted=deleted))
        fork = Branch.from_path(new, deleted=deleted, stored=True)._replace(fork=old[0].digest)
        return self._insert(fork) if fork.order < branch.order else None

    def _replace_branch(self, branch: Branch, longer: Branch) -> "RevTree | None":
        """Return the tree with a longer branch; None if the common ancestors now belong to another branch.

        They belong to the first branch in order, and a longer branch can move up or down.
        """
        owner = self._branch(branch.root) if branch.root else None
        if owner and owner.order < longer.order:
            return None
        if longer.order < branch.order and any(
            each.root and branch.has(each.root) and each.order > longer.order for each in self._branches
        ):
            return None
        return self._insert(longer, instead_of=branch)

    def _insert(self, branch: Branch, instead_of: Branch | None = None) -> "RevTree":
        branches = [*self._branches]
        if instead_of:
            del branches[_insertion_index(branches, instead_of) - 1]
        branches.insert(_insertion_index(branches, branch), branch)
        oldest, newest = self._generations()
        tree = RevTree(branches)
        tree._span = min(oldest, branch.start), max(newest, branch.leaf.generation)
        # The new tree takes over the index: it needs it next, while the old tree is rarely used again.
        tree._places, self._places = self._places, None
        if tree._places is not None:
            tree._places.update(dict.fromkeys(branch.revs(), branch))
        return tree

    def _generations(self) -> tuple[int, int]:
        """Return the lowest and the highest generation."""
        if self._span is None:
            newest = max((branch.leaf.generation for branch in self._branches), default=0)
            self._span = min((branch.start for branch in self._branches), default=0), newest
        return self._span

    def _branch(self, rev: Rev) -> Branch | None:
        # A dictionary of all revisions pays only if there are many branches: it takes longer to make than one search.
        if len(self._branches) <= limits.SEARCHED_BRANCHES:
            return next((branch for branch in self._branches if branch.has(rev)), None)
        if self._places is None:
            self._places = {each: branch for branch in self._branches for each in branch.revs()}
        return self._places.get(rev)

    # --- Merging any other path

    def _merge_any(self, path: Sequence[Rev], *, deleted: bool, stored: bool) -> "RevTree":
        newest = {path[0]} if stored and not self.is_stored(path[0]) else set[Rev]()
        tombstones = self._tombstones() | (newest if deleted else set())
        bodiless = self._bodiless().union(self.missing(path)) - newest
        return _build_tree(self._merge_parents(path), tombstones, bodiless)

    def _parents(self) -> dict[Rev, Rev | None]:
        parents: dict[Rev, Rev | None] = {}
        for branch in self._branches:
            revs = branch.revs()
            parents.update(zip(revs, [branch.root, *revs], strict=False))
        return parents

    def _tombstones(self) -> set[Rev]:
        return {rev for branch in self._branches for rev in branch.revs_at(branch.tombstones)}

    def _bodiless(self) -> set[Rev]:
        return {rev for branch in self._branches for rev in branch.revs_at(branch.bodiless)}

    def _merge_parents(self, path: Sequence[Rev]) -> dict[Rev, Rev | None]:
        parents = self._parents()
        for child, parent in zip(path, [*path[1:], None], strict=True):
            if parents.setdefault(child, parent) is None:
                parents[child] = parent
            elif parents[child] != parent:
                break  # the path ends here, or it is forged: in the tree the revision has another parent
        return parents


def _branches_json(branches: Sequence[Branch]) -> bytes:
    return to_json(list(map(tuple, branches)))  # named tuples take three times as long as plain ones


def _insertion_index(branches: Sequence[Branch], branch: Branch) -> int:
    """Return the index after all branches whose order is as high as this one's, or higher."""
    low, high, order = 0, len(branches), branch.order
    while low < high:
        middle = (low + high) // 2
        if branches[middle].order >= order:
            low = middle + 1
        else:
            high = middle
    return low


def _build_tree(parents: Mapping[Rev, Rev | None], tombstones: Collection[Rev], bodiless: Collection[Rev]) -> RevTree:
    """Build the tree of these revisions and their parents."""
    inner = set(parents.values())
    leaves = [rev for rev in parents if rev not in inner]
    # The winner is first: undeleted before deleted, then the higher generation, then the higher digest. Every replica
    # has the same order, so all agree on the winner.
    leaves.sort(key=lambda rev: (rev not in tombstones, rev.rank), reverse=True)
    branches: list[Branch] = []
    taken: set[Rev] = set()
    for leaf in leaves:
        revs = _untaken_ancestry(leaf, parents, taken)
        fork = parents[revs[0]]
        branches.append(
            Branch(
                revs[0].generation,
                fork and fork.digest,
                [rev.digest for rev in revs],
                [rev.generation for rev in revs if rev in tombstones],
                [rev.generation for rev in revs if rev in bodiless],
            )
        )
        taken.update(revs)
    return RevTree(branches)


def _untaken_ancestry(leaf: Rev, parents: Mapping[Rev, Rev | None], taken: Collection[Rev]) -> list[Rev]:
    """Return a leaf and its ancestors, oldest first, without those that another branch has taken."""
    revs: list[Rev] = []
    step: Rev | None = leaf
    while step is not None and step not in taken:
        revs.append(step)
        step = parents[step]
    return revs[::-1]
