"""What functions say of writes. They are asked before a write is done, and outside of its transaction.

A function may take seconds, and while a transaction waits nobody else writes. So a write is tried: inside its
transaction it puts its questions, each about a document as it would replace another, and looks for the verdicts. Where
one is missing, nothing is written; the functions are asked, and the write is tried again. A question names all that its
verdict depends on, so a verdict never counts for anything else: if meanwhile another revision was stored, or another
function, the question is another one as well.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from hashlib import blake2b
from itertools import groupby
from typing import Any, Final, NamedTuple

from couchmodel._embedded.javascript.design_schema import check_functions
from couchmodel._embedded.javascript.engine import Context, Scripts, Together, parsed
from couchmodel._embedded.javascript.turns import run
from couchmodel._wire.messages import encode
from couchmodel._wire.users import User
from couchmodel.errors import (
    BadRequestError,
    ForbiddenError,
    ResponseError,
    ServerError,
    UnauthorizedError,
    UnsupportedError,
)

__all__ = ["Author", "DesignQuestion", "DocumentQuestion", "Function", "RefusedError", "UnjudgedError", "Verdicts"]

TIMEOUT: Final = 60.0
"""Seconds that the functions may take for the documents of one request, CouchDB's ``request_timeout``."""

NOW: Final = 0.001
"""Seconds that an attempt waits for functions inside its transaction."""

ENOUGH: Final = 5000
ENOUGH_BYTES: Final = 4 * 1024 * 1024
"""Questions, and bytes of them, after which the functions are asked before there are more."""


class Author(NamedTuple):
    """Who writes, and where, as the functions are told."""

    user: User
    database: str
    security: Mapping[str, Any]
    scripts: Scripts

    @property
    def text(self) -> bytes:
        """The last two arguments of a function, as JSON."""
        context = {"db": self.database, "name": self.user.name, "roles": list(self.user.roles)}
        return b"[%b,%b]" % (encode(context), encode(self.security))


class RefusedError(ResponseError):
    """A document that is not taken for what a design document says, or for what it is itself."""


class Function(NamedTuple):
    """The function of a design document that checks documents."""

    design: str
    context: Context


class DocumentQuestion(NamedTuple):
    """Whether a document may replace another. ``text`` is the JSON of both."""

    functions: tuple[Function, ...]
    text: bytes

    @property
    def key(self) -> bytes:
        """The name of the question."""
        numbers = [function.context.opening.number for function in self.functions]
        return blake2b(b"%b %b" % (encode(numbers), self.text)).digest()


class DesignQuestion(NamedTuple):
    """Whether the functions of a design document's views compile. ``text`` is the JSON of the views."""

    views: Mapping[str, Any]
    text: bytes

    @property
    def key(self) -> bytes:
        """The name of the question."""
        return blake2b(b"views " + self.text).digest()


Question = DocumentQuestion | DesignQuestion


class UnjudgedError(Exception):
    """A write cannot be done before some questions have been answered."""

    def __init__(self, questions: Sequence[Question]) -> None:
        super().__init__(f"{len(questions)} questions")
        self.questions = questions


class Verdicts:
    """The verdicts on one request's writes, and the questions that are open.

    A request with many documents is tried several times: each attempt begins at the document of turn ``first``. Only
    one that begins with the first of all can write anything. ``resume`` is set to where the next one is to begin.
    """

    def __init__(self, author: Author) -> None:
        self._author = author
        self._known: dict[bytes, ResponseError | None] = {}
        self._open: dict[bytes, Question] = {}
        self._size = 0
        self._short = False
        self._until = 0.0
        self._late: _Late | None = None
        self.first = self.resume = 0

    @property
    def are_missing(self) -> bool:
        """Whether nothing can be written in this attempt."""
        return bool(self._open) or self.first > 0

    @property
    def are_enough(self) -> bool:
        """Whether so many questions are open that it is time to ask."""
        return len(self._open) >= ENOUGH or self._size >= ENOUGH_BYTES

    def begin(self, *, short: bool) -> None:
        """A new attempt begins; ``short`` says that it has few documents, and small ones."""
        self._open, self._size, self._short = {}, 0, short
        self._until = time.monotonic() + NOW
        self.first, self.resume = self.resume, 0

    def look_up(self, question: Question) -> None:
        """Raise the error that is the verdict; note the question where there is no verdict yet."""
        key = question.key
        if key not in self._known and isinstance(question, DocumentQuestion) and self._short and not self.are_missing:
            self._ask_now(question, key)
        if key not in self._known:
            self._open[key] = question
            self._size += len(question.text)
        elif error := self._known[key]:
            raise error

    def require(self) -> None:
        """Raise UnjudgedError where nothing can be written in this attempt."""
        if self.are_missing:
            raise UnjudgedError(list(self._open.values()))

    async def judge(self, questions: Sequence[Question]) -> None:
        """Ask the functions. Raises ServerError where that takes too long, UnsupportedError without ``js``."""
        late, self._late = self._late, None
        if late is not None:
            await self._wait(late)
        questions = [question for question in questions if question.key not in self._known]
        if questions:
            await run(self._author.scripts, partial(self._judge, questions))

    def _judge(self, questions: Sequence[Question]) -> None:
        until = time.monotonic() + TIMEOUT
        for question in questions:
            if isinstance(question, DesignQuestion):
                self._known[question.key] = _error_of(question, self._author.scripts)
        documents = [question for question in questions if isinstance(question, DocumentQuestion)]
        for functions, some in groupby(documents, lambda question: question.functions):
            asked = list(some)
            errors = _ask(functions, self._author, [question.text for question in asked], until)
            self._known.update((question.key, error) for question, error in zip(asked, errors, strict=True))

    # --- a document for which nothing else has to wait

    def _ask_now(self, question: DocumentQuestion, key: bytes) -> None:
        """Ask the functions at once, inside the transaction, unless they take more than a moment."""
        error = None
        for place, function in enumerate(question.functions):
            left = self._until - time.monotonic()
            if left <= 0:
                return
            request = _request([question.text], self._author)
            answer = function.context.ask_now("call", b"validate", request, seconds=left)
            if answer is None:
                return
            if not answer.done():
                self._late = _Late(question, place, answer)
                return
            error = _outcome(function, answer)
            if error is not None:
                break
        self._known[key] = error

    async def _wait(self, late: "_Late") -> None:
        """Wait for an answer that was late, and ask the other functions."""
        await asyncio.wait([asyncio.wrap_future(late.answer)])
        question, place, answer = late
        error = _outcome(question.functions[place], answer)
        rest = question.functions[place + 1 :]
        if error is None and rest:
            asked = partial(_ask, rest, self._author, [question.text], time.monotonic() + TIMEOUT)
            [error] = await run(self._author.scripts, asked)
        self._known[question.key] = error


class _Late(NamedTuple):
    """An answer of a question's function, by its place, which is yet to come."""

    question: DocumentQuestion
    place: int
    answer: Future[list[bytes]]


def _error_of(question: DesignQuestion, scripts: Scripts) -> ResponseError | None:
    try:
        check_functions(question.views, scripts)
    except UnsupportedError:
        raise
    except ResponseError as error:
        return refused(error)
    return None


# --- what a function says of documents


def _ask(
    functions: Iterable[Function], author: Author, documents: Sequence[bytes], until: float
) -> list[ResponseError | None]:
    """The first error that one of the functions makes of each document."""
    errors: list[ResponseError | None] = [None] * len(documents)
    for function in functions:
        left = [place for place, error in enumerate(errors) if error is None]
        together = Together(partial(_call, function, author, until))
        for place, error in zip(left, together.ask([documents[place] for place in left]), strict=True):
            errors[place] = error
    return errors


def _outcome(function: Function, answer: Future[list[bytes]]) -> ResponseError | None:
    """The error that a function has made of one document."""
    try:
        [outcome] = answer.result()
    except ResponseError as error:
        return _named(error, function)
    return _judged(outcome, function)


def _call(
    function: Function, author: Author, until: float, documents: Sequence[bytes], seconds: float | None
) -> list[ResponseError | None]:
    """The errors that a function makes of documents. Raises ServerError where they are to be asked about one by one."""
    if time.monotonic() > until:
        reason = "The request could not be processed in a reasonable amount of time."
        raise ServerError(reason, code="timeout")
    try:
        answer = function.context.ask("call", b"validate", _request(documents, author), seconds=seconds)
    except UnsupportedError:
        raise
    except ResponseError as error:
        if isinstance(error, ServerError) and len(documents) > 1:
            raise
        return [_named(error, function)] * len(documents)
    return [_judged(outcome, function) for outcome in answer.split(b"\n")]


def _request(documents: Sequence[bytes], author: Author) -> bytes:
    return b'[["validate_doc_update"],[%b],%b]' % (b",".join(documents), encode(author.text.decode()))


def _judged(outcome: bytes, function: Function) -> ResponseError | None:
    if outcome == b"{}":
        return None
    try:
        told = parsed(outcome)
    except ServerError as error:
        return refused(error)
    if "code" in told:
        failure = ResponseError(told["reason"], code=told["code"])
        failure.status = told.get("status", 500)
        return _named(failure, function)
    return _thrown(told["thrown"])


def _named(error: ResponseError, function: Function) -> ResponseError:
    if error.code == "not_found":
        error.reason = f"missing validate_doc_update function validate_doc_update on design doc {function.design}"
    return refused(error)


def _thrown(thrown: object) -> ResponseError:
    """What CouchDB makes of what a function has thrown."""
    match thrown:
        case {"forbidden": reason, **others} if not others:
            return ForbiddenError(reason)
        case {"unauthorized": reason, **others} if not others:
            return UnauthorizedError(reason)
        case str(reason):
            return _refusal(500, "unknown_error", reason)
        case {**members} if len(members) == 1:
            (reason,) = members.values()
            return _refusal(500, "unknown_error", reason if isinstance(reason, str) else encode(reason).decode())
        case _:
            return ServerError("function_clause", code="unknown_error")


def refused(error: ResponseError) -> RefusedError:
    """An error as that of one document."""
    # What does not compile is the document's fault while it is written, and the server's when it is run.
    status = 500 if error.status == 400 and not isinstance(error, BadRequestError) else error.status
    return _refusal(status, error.code, error.reason)


def _refusal(status: int, code: str, reason: str) -> RefusedError:
    refusal = RefusedError(reason, code=code)
    refusal.status = status
    return refusal
