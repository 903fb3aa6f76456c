"""The sources and destinations of a bucket: bytes and files, whose methods may be asynchronous or not."""

import asyncio
import inspect
import io
import os
from collections.abc import AsyncIterable, AsyncIterator
from pathlib import Path
from typing import Any, TypeAlias, TypeGuard

__all__ = ["Buffer", "is_buffer", "read_source", "write_piece"]

Buffer: TypeAlias = bytes | bytearray | memoryview


def is_buffer(value: Any) -> TypeGuard[Buffer]:
    """Return True for bytes, and what can be read as bytes."""
    return isinstance(value, (bytes, bytearray, memoryview))


async def read_source(source: Any, size: int) -> AsyncIterator[Buffer]:
    """Yield the content of a source, from its position on, in pieces of at most ``size`` bytes if it is a file.

    A source is bytes, a path, an asynchronous iterator of bytes, or an object with a method ``read``. It is left open.
    Raises TypeError for anything else, and for a source of text.
    """
    if is_buffer(source):
        yield source
    elif isinstance(source, os.PathLike):
        with await asyncio.to_thread(Path(source).open, "rb") as file:
            # A disk may block, and the event loop must not wait for it.
            while block := await asyncio.to_thread(file.read, size):
                yield block
    elif hasattr(source, "read"):
        while piece := _check_piece(await _call(source, source.read, size)):
            yield piece
    elif isinstance(source, AsyncIterable):
        async for piece in source:
            yield _check_piece(piece)
    else:
        raise TypeError(
            f"a file is made of bytes, a path, an object with read() or an async iterator, not of {_kind(source)}"
        )


async def write_piece(destination: Any, piece: bytes) -> None:
    """Write a piece to a destination, whose method ``write`` may be asynchronous. It is left open."""
    await _call(destination, destination.write, piece)


async def _call(file: Any, method: Any, argument: Any) -> Any:
    """Call a method of a file. That of a file on a disk may block, so it runs in a thread."""
    result = (
        await asyncio.to_thread(method, argument)
        if isinstance(file, io.IOBase) and _may_block(file)
        else method(argument)
    )
    return await result if inspect.isawaitable(result) else result


def _may_block(file: io.IOBase) -> bool:
    return not isinstance(file, (io.BytesIO, io.StringIO))


def _check_piece(piece: Any) -> Buffer:
    if not is_buffer(piece):
        raise TypeError(f"the source gives {_kind(piece)} instead of bytes: open a file with mode 'rb'")
    return piece


def _kind(value: Any) -> str:
    return "None" if value is None else type(value).__name__
