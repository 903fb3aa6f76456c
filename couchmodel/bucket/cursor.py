"""The files that a ``find`` finds."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Any, Generic, NoReturn, Self

from couchmodel._wire.messages import decode, encode
from couchmodel.bucket.filters import check_sort, make_selector, sort_key, values_at
from couchmodel.bucket.grid_out import GridOut
from couchmodel.bucket.layout import StoredFile
from couchmodel.bucket.metadata import M, Metadata
from couchmodel.bucket.storage import Storage
from couchmodel.errors import InvalidOperation
from couchmodel.types import JSONObject

__all__ = ["GridOutCursor"]


class GridOutCursor(Generic[M]):
    """The files that a ``find`` finds. Iterating over it gives each as a :class:`GridOut`, as they arrive.

    With a sort, all of them arrive first: CouchDB sorts only by an index.
    """

    def __init__(
        self, storage: Storage, metadata: Metadata[M], filter: Mapping[str, Any] | None, skip: int = 0, limit: int = 0
    ) -> None:
        if filter is not None and not isinstance(filter, Mapping):
            raise TypeError(f"a filter is a dictionary, not {type(filter).__name__}")
        self._storage = storage
        self._metadata = metadata
        self._filter = dict(filter or {})
        self._sort: list[tuple[str, int]] = []
        self._skip = _check_count("skip", skip)
        self._limit = _check_count("limit", limit)
        self._files: AsyncGenerator[GridOut[M], None] | None = None
        self._is_over = False
        self._fetched: GridOut[M] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> GridOut[M]:
        """Return the next file."""
        if self._fetched is not None:
            fetched, self._fetched = self._fetched, None
            return fetched
        if self._is_over:
            raise StopAsyncIteration
        if self._files is None:
            # The generator does not refer to the cursor, so that both end at once if the cursor is given up.
            self._files = _find(
                self._storage, self._metadata, make_selector(self._filter), self._sort, self._skip, self._limit
            )
        try:
            # The end of the files is an exception, too, and so is the cancellation: the generator has ended by then.
            return await anext(self._files)
        except BaseException:
            self._is_over = True
            raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __copy__(self) -> Self:
        return self.clone()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self.clone()

    # --- before the first file

    def sort(self, key: str | Sequence[tuple[str, int]], direction: int | None = None) -> Self:
        """Sort by a name, or by several names with directions: 1, or -1 for the other way round."""
        self._check_not_begun()
        self._sort = check_sort(key, direction)
        return self

    def skip(self, skip: int) -> Self:
        """Leave out the first files."""
        self._check_not_begun()
        self._skip = _check_count("skip", skip)
        return self

    def limit(self, limit: int) -> Self:
        """Find at most so many files; 0 sets no limit."""
        self._check_not_begun()
        self._limit = _check_count("limit", limit)
        return self

    def batch_size(self, batch_size: int) -> Self:
        """Return the cursor. It has no effect: files come one by one as they arrive."""
        self._check_not_begun()
        _check_count("batch_size", batch_size)
        return self

    def add_option(self, mask: int) -> NoReturn:
        """Raise InvalidOperation: CouchDB has no such options."""
        raise InvalidOperation("a bucket's cursor has no options: leave out the call")

    def remove_option(self, mask: int) -> NoReturn:
        """Raise InvalidOperation: CouchDB has no such options."""
        raise InvalidOperation("a bucket's cursor has no options: leave out the call")

    def clone(self) -> Self:
        """Return a cursor of the same files that has not begun."""
        twin = self.__class__(self._storage, self._metadata, self._filter, self._skip, self._limit)
        # ``check_sort`` refuses a sort without a name.
        return twin.sort(self._sort) if self._sort else twin

    def rewind(self) -> Self:
        """Begin anew."""
        self._files = None
        self._is_over = False
        self._fetched = None
        return self

    # --- the files

    @property
    def alive(self) -> bool:
        """False after the last file, and after :meth:`close`."""
        return not self._is_over

    async def next(self) -> GridOut[M]:
        """Return the next file. Raises StopAsyncIteration after the last one."""
        return await anext(self)

    async def to_list(self, length: int | None = None) -> list[GridOut[M]]:
        """Return the files that are left, or at most ``length`` of them."""
        if length is not None:
            _check_count("length", length)
        found: list[GridOut[M]] = []
        while length is None or len(found) < length:
            try:
                found.append(await anext(self))
            except StopAsyncIteration:
                break
        return found

    def each(self, callback: Callable[[GridOut[M] | None, BaseException | None], Any]) -> "asyncio.Task[None]":
        """Call a function with each file and None, and with None and an error or None at the end.

        It ends when the function returns False. The result can be awaited.
        """
        if not callable(callback):
            raise TypeError(f"each() takes a function, not {type(callback).__name__}")
        task = asyncio.create_task(self._each(callback))
        # asyncio itself holds tasks weakly.
        _running.add(task)
        task.add_done_callback(_running.discard)
        return task

    @property
    def fetch_next(self) -> Coroutine[Any, Any, bool]:
        """An awaitable that is True if there is another file, which :meth:`next_object` returns then."""
        return self._fetch_next()

    def next_object(self) -> GridOut[M] | None:
        """Return the file that :attr:`fetch_next` has found, or None."""
        fetched, self._fetched = self._fetched, None
        return fetched

    async def distinct(self, key: str) -> list[Any]:
        """Return the different values of a member, and of the elements of lists, over all files that are found."""
        values: dict[bytes, Any] = {}
        async for file in self.clone():
            for value in values_at(file.members, key):
                # Values may be lists and objects, which a set does not take.
                values.setdefault(encode(value), value)
        return list(values.values())

    async def close(self) -> None:
        """End the iteration. Closing twice is harmless."""
        self._is_over = True
        if self._files is not None:
            await self._files.aclose()

    async def _each(self, callback: Callable[[GridOut[M] | None, BaseException | None], Any]) -> None:
        try:
            async for file in self:
                if callback(file, None) is False:
                    return
        except Exception as error:  # noqa: BLE001 - it is handed over
            callback(None, error)
        else:
            callback(None, None)

    async def _fetch_next(self) -> bool:
        if self._fetched is None:
            self._fetched = await anext(self, None)
        return self._fetched is not None

    def _check_not_begun(self) -> None:
        if self._files is not None:
            raise InvalidOperation("the cursor has begun: clone() or rewind() it first")


async def _find(
    storage: Storage,
    metadata: Metadata[M],
    selector: JSONObject,
    sort: Sequence[tuple[str, int]],
    skip: int,
    limit: int,
) -> AsyncGenerator[GridOut[M], None]:
    if sort:
        found = [StoredFile(decode(row)) async for row in storage.find(selector)]
        # The last key first: a sort keeps the order of equals.
        for name, direction in reversed(sort):
            found.sort(key=lambda file, name=name: sort_key(file.members, name), reverse=direction < 0)  # type: ignore[misc]
        for file in found[skip : skip + limit if limit else None]:
            yield GridOut(storage, file, metadata)
        return
    async with aclosing(storage.find(selector, skip, limit or None)) as rows:
        async for row in rows:
            yield GridOut(storage, StoredFile(decode(row)), metadata)


_running: set["asyncio.Task[None]"] = set()


def _check_count(name: str, value: Any) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{name} is a whole number, not {type(value).__name__}")
    if value < 0:
        raise ValueError(f"{name} cannot be negative: {value}")
    return value
