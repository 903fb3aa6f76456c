"""Where the tasks of an event loop wait: what they await, and what that awaits, to the end."""

import asyncio
from pathlib import Path
from typing import Any

__all__ = ["task_stacks"]

_INNERMOST = 8
_MOST = 12
_CALLS = (("cr_frame", "cr_await"), ("ag_frame", "ag_await"), ("gi_frame", "gi_yieldfrom"))


def task_stacks() -> str:
    """Return the innermost places of tasks that run the project's code. Those that wait alike are shown once."""
    stacks = {"\n".join(places[-_INNERMOST:]) for task in asyncio.all_tasks() if (places := _places(task))}
    return "\n\n".join(sorted(stack for stack in stacks if "couchmodel/" in stack)[:_MOST])


def _places(task: asyncio.Task[Any]) -> list[str]:
    places: list[str] = []
    call: object = task.get_coro()
    while call is not None:
        frame, call = _frame_and_next(call)
        if frame is not None:
            path = "/".join(Path(frame.f_code.co_filename).parts[-3:])
            places.append(f"  {path}:{frame.f_lineno} {frame.f_code.co_name}")
    return places


def _frame_and_next(call: object) -> tuple[Any, object]:
    """Return the frame of a coroutine or a generator, and what it waits for; twice None for what is neither."""
    for frame, awaited in _CALLS:
        if hasattr(call, frame):
            return getattr(call, frame), getattr(call, awaited)
    return None, None
