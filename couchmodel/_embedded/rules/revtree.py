"""The revision tree of a document: which revisions there are, which one descends from which, and which one wins.

Rule 1: a tree is a value. Every operation gives another tree.

Rule 2: a tree is a set of revisions and their parents, so the order in which revisions arrive does not show. A
revision is known by generation and digest; its parent is unknown as long as only stemmed histories have come, and is
filled in by the first history that has it.

A tree is kept as its branches: the winner's first, each as long as it can be. Nearly every document has a single
one, and that makes the usual work (read the tree of a BLOB column, append a revision, write it back) independent of
the number of revisions, but for the speed of the JSON parser.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from pydantic_core import from_json, to_json

from couchmodel._wire.revisions import Rev

__all__ = ["RevTree"]


_FEW: Final = 4
"""Branches that are looked through faster than an index of their revisions is made."""

_PART: Final = 1000
"""Branches that are written at once: nobody else gets a turn meanwhile."""


class Branch(NamedTuple):
    """A leaf and those of its ancestors that no earlier branch of the tree has, oldest first.

    ``fork`` is the digest of the parent of the first one, ``tombstones`` and ``bodiless`` are generations.
    """

    start: int
    fork: str | None
    digests: list[str]
    tombstones: list[int]
    bodiless: list[int]

    @classmethod
    def of(cls, path: Sequence[Rev], *, deleted: bool, stored: bool) -> "Branch":
        """The branch of a revision and its history, newest first; only the revision itself can have a body."""
        oldest, newest = path[-1].generation, path[0].generation
        bodiless = range(oldest, newest if stored else newest + 1)
        return cls(oldest, None, [rev.digest for rev in reversed(path)], [newest] if deleted else [], [*bodiless])

    @property
    def leaf(self) -> Rev:
        """The newest revision."""
        return Rev(self.start + len(self.digests) - 1, self.digests[-1])

    @property
    def root(self) -> Rev | None:
        """The parent of the oldest revision, where it is known."""
        return None if self.fork is None else Rev(self.start - 1, self.fork)

    @property
    def deleted(self) -> bool:
        """Whether the leaf is a tombstone."""
        return bool(self.tombstones) and self.tombstones[-1] == self.start + len(self.digests) - 1

    @property
    def order(self) -> tuple[bool, tuple[int, bytes]]:
        """The higher its leaf, the earlier the branch: the highest undeleted one wins."""
        return not self.deleted, self.leaf.rank

    def has(self, rev: Rev) -> bool:
        """Whether a revision is on this branch."""
        age = rev.generation - self.start
        return 0 <= age < len(self.digests) and self.digests[age] == rev.digest

    def revs(self) -> list[Rev]:
        """The revisions, oldest first."""
        return list(map(Rev, range(self.start, self.start + len(self.digests)), self.digests))

    def at(self, generations: Iterable[int]) -> list[Rev]:
        """The revisions of these generations."""
        return [Rev(generation, self.digests[generation - self.start]) for generation in generations]

    def ends_with(self, path: Sequence[Rev]) -> bool:
        """Whether its newest revisions are a path, which is newest first."""
        return path[0] == self.leaf and self.digests[-len(path) :] == [rev.digest for rev in reversed(path)]

    def continued(self, revs: Sequence[Rev], *, deleted: bool) -> "Branch":
        """The branch with descendants of its leaf, newest first; only the newest one has a body."""
        newest = revs[0].generation
        return self._replace(
            digests=[*self.digests, *(rev.digest for rev in reversed(revs))],
            tombstones=[*self.tombstones, newest] if deleted else self.tombstones,
            bodiless=[*self.bodiless, *range(revs[-1].generation, newest)],
        )

    def stemmed(self, limit: int) -> "Branch":
        """The newest revisions of the branch."""
        start = self.start + len(self.digests) - limit
        tombstones = [generation for generation in self.tombstones if generation >= start]
        bodiless = [generation for generation in self.bodiless if generation >= start]
        return Branch(start, None, self.digests[-limit:], tombstones, bodiless)


class RevTree:
    """The revisions of one document, those that are no longer stored included."""

    __slots__ = ("_branches", "_places", "_span")

    def __init__(self, branches: Sequence[Branch]) -> None:
        self._branches = branches
        self._places: dict[Rev, Branch] | None = None
        self._span: tuple[int, int] | None = None

    @classmethod
    def empty(cls) -> "RevTree":
        """The tree of a document that has no revision yet."""
        return cls(())

    @classmethod
    def from_bytes(cls, data: bytes) -> "RevTree":
        """The tree that :meth:`to_bytes` wrote."""
        return cls([Branch(*fields) for fields in from_json(data)])

    def to_bytes(self) -> bytes:
        """The tree for a BLOB column. Equal trees have equal bytes."""
        if len(self._branches) <= _PART:
            return to_json(self._branches)
        parts = range(0, len(self._branches), _PART)
        return b"[%b]" % b",".join(to_json(self._branches[start : start + _PART])[1:-1] for start in parts)

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
        """The revisions that nothing descends from, in CouchDB's order: the winner first."""
        return tuple([branch.leaf for branch in self._branches])

    @property
    def winner(self) -> Rev:
        """The revision that a reader gets who asks for none: the same one on every replica."""
        return self._branches[0].leaf

    @property
    def deleted(self) -> bool:
        """Whether the document is deleted: all its leaves are."""
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
        """Whether nothing descends from a revision that is there."""
        branch = self._branch(rev) if rev else None
        return branch is not None and branch.leaf == rev

    def is_deleted(self, rev: Rev) -> bool:
        """Whether a revision is a tombstone."""
        branch = self._branch(rev)
        return branch is not None and rev.generation in branch.tombstones

    def is_stored(self, rev: Rev) -> bool:
        """Whether a revision came with its body, and not just as an ancestor of another one."""
        branch = self._branch(rev)
        return branch is not None and rev.generation not in branch.bodiless

    def path(self, rev: Rev) -> list[Rev]:
        """A revision and its known ancestors, newest first; empty where the revision is unknown."""
        path: list[Rev] = []
        step: Rev | None = rev
        while step is not None and (branch := self._branch(step)):
            path += branch.revs()[step.generation - branch.start :: -1]
            step = branch.root
        return path

    def latest(self, rev: Rev) -> list[Rev]:
        """The leaves that are a revision or descend from it, in CouchDB's order."""
        return [rev] if self.is_leaf(rev) else [leaf for leaf in self.leaves if rev in self.path(leaf)]

    def drawn(self, revs: Iterable[Rev]) -> list[Rev]:
        """Revisions in the order of the tree as CouchDB walks it: the last root first, and children in order."""
        paths = sorted((self.path(rev) for rev in revs), key=lambda path: [rev.rank for rev in reversed(path)])
        paths.sort(key=lambda path: path[-1].rank, reverse=True)
        return [path[0] for path in paths]

    def missing(self, revs: Iterable[Rev]) -> list[Rev]:
        """Those of the revisions that the tree does not know."""
        return [rev for rev in revs if rev not in self]

    def merge(self, path: Sequence[Rev], *, deleted: bool = False, stored: bool = True) -> "RevTree":
        """The tree with a revision and its history, newest first.

        ``deleted`` and ``stored`` describe the newest one; its ancestors become known, no more. What is known already
        stays as it is, but for a body and a parent that were missing.
        """
        if not self._branches:
            return RevTree([Branch.of(path, deleted=deleted, stored=stored)])
        if not stored:
            return self._merged(path, deleted=deleted, stored=False)
        if len(self._branches) == 1 and path[1:] and self._branches[0].ends_with(path[1:]):
            return RevTree([self._branches[0].continued(path[:1], deleted=deleted)])
        quick = self._with_path(path, deleted=deleted)
        return self._merged(path, deleted=deleted, stored=True) if quick is None else quick

    def extend(self, parent: Rev | None, new: Rev, *, deleted: bool = False) -> "RevTree":
        """The tree with one more revision, which is stored, on top of ``parent``."""
        return self.merge([new] if parent is None else [new, parent], deleted=deleted)

    def without(self, leaves: Collection[Rev]) -> "RevTree":
        """The tree without those of the leaves, and without the ancestors that only they had."""
        left = [leaf for leaf in self.leaves if leaf not in leaves]
        if len(left) == len(self._branches):
            return self
        kept = {rev for leaf in left for rev in self.path(leaf)}
        parents = {rev: parent for rev, parent in self._parents().items() if rev in kept}
        return _grown(parents, self._tombstones(), self._bodiless())

    def stem(self, limit: int) -> "RevTree":
        """The tree without the revisions that are ``limit`` or more generations older than the nearest leaf."""
        if len(self._branches) == 1:
            branch = self._branches[0]
            return self if len(branch.digests) <= limit else RevTree([branch.stemmed(limit)])
        oldest, newest = self._generations()
        if newest - oldest < limit:
            return self
        kept = {rev for leaf in self.leaves for rev in self.path(leaf)[:limit]}
        parents = {rev: parent if parent in kept else None for rev, parent in self._parents().items() if rev in kept}
        return _grown(parents, self._tombstones(), self._bodiless())

    # --- a path that changes no more than one branch

    def _with_path(self, path: Sequence[Rev], *, deleted: bool) -> "RevTree | None":
        """The tree with a path that begins a branch or continues one; None where it does more than that."""
        known = next((place for place, rev in enumerate(path) if rev in self), len(path))
        new, old = path[:known], path[known:]
        if not old:
            return self._with(Branch.of(new, deleted=deleted, stored=True))
        branch = self._branch(old[0])
        if branch is None or not new or self.path(old[0])[: len(old)] != [*old]:
            return None
        if branch.leaf == old[0]:
            return self._continued(branch, branch.continued(new, deleted=deleted))
        fork = Branch.of(new, deleted=deleted, stored=True)._replace(fork=old[0].digest)
        return self._with(fork) if fork.order < branch.order else None

    def _continued(self, branch: Branch, longer: Branch) -> "RevTree | None":
        """The tree with a longer branch, unless another one has the revisions that both descend from by now."""
        owner = self._branch(branch.root) if branch.root else None
        if owner and owner.order < longer.order:
            return None
        if longer.order < branch.order and any(
            each.root and branch.has(each.root) and each.order > longer.order for each in self._branches
        ):
            return None
        return self._with(longer, instead_of=branch)

    def _with(self, branch: Branch, instead_of: Branch | None = None) -> "RevTree":
        branches = [*self._branches]
        if instead_of:
            del branches[_place(branches, instead_of) - 1]
        branches.insert(_place(branches, branch), branch)
        oldest, newest = self._generations()
        tree = RevTree(branches)
        tree._span = min(oldest, branch.start), max(newest, branch.leaf.generation)
        # The next tree needs the index, and this one hardly any more.
        tree._places, self._places = self._places, None
        if tree._places is not None:
            tree._places.update(dict.fromkeys(branch.revs(), branch))
        return tree

    def _generations(self) -> tuple[int, int]:
        """The lowest and the highest generation."""
        if self._span is None:
            newest = max((branch.leaf.generation for branch in self._branches), default=0)
            self._span = min((branch.start for branch in self._branches), default=0), newest
        return self._span

    def _branch(self, rev: Rev) -> Branch | None:
        if len(self._branches) <= _FEW:
            return next((branch for branch in self._branches if branch.has(rev)), None)
        if self._places is None:
            self._places = {each: branch for branch in self._branches for each in branch.revs()}
        return self._places.get(rev)

    # --- any other path

    def _merged(self, path: Sequence[Rev], *, deleted: bool, stored: bool) -> "RevTree":
        newest = {path[0]} if stored and not self.is_stored(path[0]) else set[Rev]()
        tombstones = self._tombstones() | (newest if deleted else set())
        bodiless = self._bodiless().union(self.missing(path)) - newest
        return _grown(self._joined(path), tombstones, bodiless)

    def _parents(self) -> dict[Rev, Rev | None]:
        parents: dict[Rev, Rev | None] = {}
        for branch in self._branches:
            revs = branch.revs()
            parents.update(zip(revs, [branch.root, *revs], strict=False))
        return parents

    def _tombstones(self) -> set[Rev]:
        return {rev for branch in self._branches for rev in branch.at(branch.tombstones)}

    def _bodiless(self) -> set[Rev]:
        return {rev for branch in self._branches for rev in branch.at(branch.bodiless)}

    def _joined(self, path: Sequence[Rev]) -> dict[Rev, Rev | None]:
        parents = self._parents()
        for child, parent in zip(path, [*path[1:], None], strict=True):
            if parents.setdefault(child, parent) is None:
                parents[child] = parent
            elif parents[child] != parent:
                break  # the history ends here; or it is forged, and this revision has another parent
        return parents


def _place(branches: Sequence[Branch], branch: Branch) -> int:
    """The place behind all branches that are as high as this one, or higher."""
    low, high, order = 0, len(branches), branch.order
    while low < high:
        middle = (low + high) // 2
        if branches[middle].order >= order:
            low = middle + 1
        else:
            high = middle
    return low


def _grown(parents: Mapping[Rev, Rev | None], tombstones: Collection[Rev], bodiless: Collection[Rev]) -> RevTree:
    """The tree of these revisions."""
    inner = set(parents.values())
    leaves = [rev for rev in parents if rev not in inner]
    leaves.sort(key=lambda rev: (rev not in tombstones, rev.rank), reverse=True)
    branches: list[Branch] = []
    taken: set[Rev] = set()
    for leaf in leaves:
        revs = _untaken(leaf, parents, taken)
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


def _untaken(leaf: Rev, parents: Mapping[Rev, Rev | None], taken: Collection[Rev]) -> list[Rev]:
    """A leaf and its ancestors, oldest first, down to where another branch begins."""
    revs: list[Rev] = []
    step: Rev | None = leaf
    while step is not None and step not in taken:
        revs.append(step)
        step = parents[step]
    return revs[::-1]
