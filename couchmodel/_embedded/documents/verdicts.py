"""Run the functions of design documents that check writes, and keep their verdicts.

The functions are ``validate_doc_update`` for a document, and the compilation of the views for a design document.

- A function may take seconds, and an open write transaction blocks every other writer. So functions run before the
  write and outside of its transaction, except for the few that answer at once.
- A write is attempted. Inside its transaction it looks up the verdict for each document. If a verdict is missing, the
  attempt writes nothing and records a question. The functions then answer the questions, and the write is attempted
  again.
- The key of a question covers everything that its verdict depends on: the functions, the new document and the revision
  that it replaces. If another revision or another function was stored in the meantime, the key differs, and the old
  verdict does not apply.
- Functions that are replaced again and again would hold a write up for ever. After some attempts, the verdict of the
  functions of an earlier attempt counts, as if the write had come before they were replaced.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from copy import copy
from functools import partial
from hashlib import blake2b
from itertools import groupby
from typing import Any, NamedTuple

from couchmodel._embedded import limits
from couchmodel._embedded.javascript.design_schema import check_functions
from couchmodel._embedded.javascript.engine import BatchedCalls, Context, Scripts, parse_result
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

__all__ = [
    "Author",
    "DesignQuestion",
    "DocumentQuestion",
    "MissingVerdictsError",
    "RefusedError",
    "ValidationFunction",
    "Verdicts",
]


class Author(NamedTuple):
    """The author of a write and the database, as validation functions see them in ``userCtx`` and ``secObj``."""

    user: User
    database: str
    security: Mapping[str, Any]
    scripts: Scripts

    @property
    def text(self) -> bytes:
        """The last two arguments of a validation function as a JSON array: ``userCtx`` and ``secObj``."""
        context = {"db": self.database, "name": self.user.name, "roles": list(self.user.roles)}
        return b"[%b,%b]" % (encode(context), encode(self.security))


class RefusedError(ResponseError):
    """A write was refused by a validation function, or the document is an invalid design document."""


class ValidationFunction(NamedTuple):
    """The ``validate_doc_update`` function of a design document."""

    design: str
    context: Context


class DocumentQuestion(NamedTuple):
    """The question whether one document may replace another. ``text`` is the JSON array of the new and the old one."""

    functions: tuple[ValidationFunction, ...]
    text: bytes

    @property
    def key(self) -> bytes:
        """The key of the verdict: a hash of the functions and of both documents."""
        numbers = [function.context.setup.number for function in self.functions]
        return blake2b(b"%b %b" % (encode(numbers), self.text)).digest()

    @property
    def key_of_documents(self) -> bytes:
        """A hash of both documents: the part of the verdict's key that is the same for all functions."""
        return blake2b(self.text).digest()


class DesignQuestion(NamedTuple):
    """The question whether the views of a design document compile. ``text`` is the JSON of the views."""

    views: Mapping[str, Any]
    text: bytes

    @property
    def key(self) -> bytes:
        """The key of the verdict: a hash of the views."""
        return blake2b(b"views " + self.text).digest()


Question = DocumentQuestion | DesignQuestion


class MissingVerdictsError(Exception):
    """A write needs verdicts that are not known yet. ``questions`` are the open questions."""

    def __init__(self, questions: Sequence[Question]) -> None:
        super().__init__(f"{len(questions)} questions")
        self.questions = questions


class Verdicts:
    """The verdicts on the writes of one request, and its open questions.

    A request with many documents takes several attempts. An attempt begins at the document number ``first`` of the
    request, and sets ``resume`` to the number at which the next attempt begins. Only an attempt that begins at 0 has
    seen every document, so only such an attempt may write.
    """

    def __init__(self, author: Author) -> None:
        self._author = author
        self._known: dict[bytes, ResponseError | None] = {}
        self._open: dict[bytes, Question] = {}
        self._size = 0
        self._short = False
        self._until = 0.0
        self._late: _LateAnswer | None = None
        self._attempts = 0
        self.first = self.resume = 0

    @property
    def are_missing(self) -> bool:
        """True if this attempt may not write: a verdict is missing, or the attempt did not begin at document 0."""
        return bool(self._open) or self.first > 0

    @property
    def has_too_many_open(self) -> bool:
        """True if so many questions are open that the attempt should stop and let the functions answer."""
        return len(self._open) >= limits.OPEN_QUESTIONS or self._size >= limits.OPEN_QUESTION_BYTES

    def begin(self, *, short: bool) -> None:
        """Begin a new attempt.

        ``short`` says that the request has few and small documents. Their functions may run inside the transaction.
        """
        self._open, self._size, self._short = {}, 0, short
        self._attempts += 1
        self._until = time.monotonic() + limits.INLINE_VALIDATION_SECONDS
        self.first, self.resume = self.resume, 0

    def look_up(self, question: Question) -> None:
        """Raise the error of a negative verdict. Record the question if there is no verdict yet."""
        key = question.key
        if key not in self._known and isinstance(question, DocumentQuestion):
            # See the last rule of this module: the functions of an earlier attempt count from here on.
            if self._attempts > limits.VALIDATION_ATTEMPTS and question.key_of_documents in self._known:
                key = question.key_of_documents
            elif self._short and not self.are_missing:
                self._ask_now(question, key)
        if key not in self._known:
            self._open[key] = question
            self._size += len(question.text)
        elif error := self._known[key]:
            raise copy(error)  # the traceback of the error itself would refer to this object, which refers to the error

    def require(self) -> None:
        """Raise MissingVerdictsError if this attempt may not write."""
        if self.are_missing:
            raise MissingVerdictsError(list(self._open.values()))

    async def judge(self, questions: Sequence[Question]) -> None:
        """Let the functions answer the questions, on a thread.

        Raises:
            ServerError: the functions take longer than ``limits.VALIDATION_SECONDS``.
            UnsupportedError: the extra ``js`` is not installed.
        """
        late, self._late = self._late, None
        if late is not None:
            await self._wait_for_late_answer(late)
        questions = [question for question in questions if question.key not in self._known]
        if questions:
            await run(self._author.scripts, partial(self._judge, questions))

    # Runs on a thread. The writing thread reads the verdicts, but only in the attempts before and after this call.
    def _judge(self, questions: Sequence[Question]) -> None:
        until = time.monotonic() + limits.VALIDATION_SECONDS
        for question in questions:
            if isinstance(question, DesignQuestion):
                self._known[question.key] = _compile_error(question, self._author.scripts)
        # Documents with the same functions go to them in batches. They come in the order of the request, in which the
        # functions rarely change.
        documents = [question for question in questions if isinstance(question, DocumentQuestion)]
        for functions, some in groupby(documents, lambda question: question.functions):
            asked = list(some)
            errors = _ask(functions, self._author, [question.text for question in asked], until)
            for question, error in zip(asked, errors, strict=True):
                self._note(question, error)

    def _note(self, question: DocumentQuestion, error: ResponseError | None) -> None:
        self._known[question.key] = self._known[question.key_of_documents] = error

    # --- answers inside the transaction

    def _ask_now(self, question: DocumentQuestion, key: bytes) -> None:
        """Run the functions inside the transaction, and keep the verdict if all answer at once.

        An answer that comes later is kept as ``_late``, and ``judge`` waits for it outside of the transaction.
        """
        error = None
        for place, function in enumerate(question.functions):
            left = self._until - time.monotonic()
            if left <= 0:
                return
            request = _arguments([question.text], self._author)
            answer = function.context.run_if_idle("call", b"validate", request, seconds=left)
            # No process is idle, or calls of these functions were late before: they have to run outside of the
            # transaction.
            if answer is None:
                return
            if not answer.done():
                self._late = _LateAnswer(question, place, answer)
                return
            error = _read_answer(function, answer)
            if error is not None:
                break
        self._known[key] = error

    async def _wait_for_late_answer(self, late: "_LateAnswer") -> None:
        """Wait for a late answer, then run the functions that come after it."""
        await asyncio.wait([asyncio.wrap_future(late.answer)])
        question, place, answer = late
        error = _read_answer(question.functions[place], answer)
        rest = question.functions[place + 1 :]
        if error is None and rest:
            asked = partial(_ask, rest, self._author, [question.text], time.monotonic() + limits.VALIDATION_SECONDS)
            [error] = await run(self._author.scripts, asked)
        self._note(question, error)


class _LateAnswer(NamedTuple):
    """An answer that has not arrived yet. ``place`` is the index of the function in ``question.functions``."""

    question: DocumentQuestion
    place: int
    answer: Future[list[bytes]]


def _compile_error(question: DesignQuestion, scripts: Scripts) -> ResponseError | None:
    """Return the error if the views of a design document do not compile."""
    try:
        check_functions(question.views, scripts)
    except UnsupportedError:
        raise
    except ResponseError as error:
        return as_refused_error(error)
    return None


# --- verdicts of validation functions


def _ask(
    functions: Iterable[ValidationFunction], author: Author, documents: Sequence[bytes], until: float
) -> list[ResponseError | None]:
    """Return, for each document, the error of the first function that refuses it."""
    errors: list[ResponseError | None] = [None] * len(documents)
    for function in functions:
        # A function is not asked about a document that one before it has refused, as in CouchDB.
        left = [place for place, error in enumerate(errors) if error is None]
        asked = [documents[place] for place in left]
        found = BatchedCalls().results(asked, partial(_call, function, author, until))
        for place, error in zip(left, found, strict=True):
            errors[place] = error
    return errors


def _read_answer(function: ValidationFunction, answer: Future[list[bytes]]) -> ResponseError | None:
    """Return the error from a function's answer about one document, or None if it accepts the document."""
    try:
        [outcome] = answer.result()
    except ResponseError as error:
        return _function_error(error, function)
    return _read_verdict(outcome, function)


def _call(
    function: ValidationFunction, author: Author, until: float, documents: Sequence[bytes], seconds: float | None
) -> list[ResponseError | None]:
    """Run one function on several documents. Return its error for each document.

    Raises ServerError if the time of the request is over, or if the call fails for several documents together. In the
    second case ``BatchedCalls`` calls the function again for each document alone.
    """
    if time.monotonic() > until:
        reason = "The request could not be processed in a reasonable amount of time."
        raise ServerError(reason, code="timeout")
    try:
        answer = function.context.run("call", b"validate", _arguments(documents, author), seconds=seconds)
    except UnsupportedError:
        raise
    except ResponseError as error:
        if isinstance(error, ServerError) and len(documents) > 1:
            raise
        return [_function_error(error, function)] * len(documents)
    return [_read_verdict(outcome, function) for outcome in answer.split(b"\n")]


def _arguments(documents: Sequence[bytes], author: Author) -> bytes:
    """Return the argument of ``validate`` in ``scripts.js``: path of the function, documents, author."""
    return b'[["validate_doc_update"],[%b],%b]' % (b",".join(documents), encode(author.text.decode()))


def _read_verdict(outcome: bytes, function: ValidationFunction) -> ResponseError | None:
    """Return the error that ``scripts.js`` reports for one document. An empty object means that it is accepted."""
    if outcome == b"{}":
        return None
    try:
        verdict = parse_result(outcome)
    except ServerError as error:
        return as_refused_error(error)
    if "code" in verdict:
        failure = ResponseError(verdict["reason"], code=verdict["code"])
        failure.status = verdict.get("status", 500)
        return _function_error(failure, function)
    return _error_of_thrown(verdict["thrown"])


def _function_error(error: ResponseError, function: ValidationFunction) -> ResponseError:
    """Return the error of a function that failed, with the name of its design document if it is not a function."""
    if error.code == "not_found":
        error.reason = f"missing validate_doc_update function validate_doc_update on design doc {function.design}"
    return as_refused_error(error)


def _error_of_thrown(thrown: object) -> ResponseError:
    """Return the error that CouchDB answers for a value that a validation function throws."""
    match thrown:
        # The clauses of `couch_query_servers:validate_doc_update`.
        case {"forbidden": reason, **others} if not others:
            return ForbiddenError(reason)
        case {"unauthorized": reason, **others} if not others:
            return UnauthorizedError(reason)
        case str(reason):
            return _refused_error(500, "unknown_error", reason)
        case {**members} if len(members) == 1:
            (reason,) = members.values()
            return _refused_error(500, "unknown_error", reason if isinstance(reason, str) else encode(reason).decode())
        case _:
            return ServerError("function_clause", code="unknown_error")


def as_refused_error(error: ResponseError) -> RefusedError:
    """Return the error as RefusedError, which concerns a single document and not the whole request."""
    # A function that does not compile answers 400 while its design document is written. A document that such a
    # function would check is not at fault, so its write answers 500.
    status = 500 if error.status == 400 and not isinstance(error, BadRequestError) else error.status
    return _refused_error(status, error.code, error.reason)


def _refused_error(status: int, code: str, reason: str) -> RefusedError:
    refusal = RefusedError(reason, code=code)
    refusal.status = status
    return refusal
