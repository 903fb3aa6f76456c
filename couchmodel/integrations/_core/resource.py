"""The operations on the documents of a model, as answers to requests."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, Generic, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from couchmodel._model.codec import codec
from couchmodel._model.model import CouchModel
from couchmodel._model.query.pages import PageRequest
from couchmodel._model.query.patches import assign_patch, field_of_input
from couchmodel._model.query.query import Query
from couchmodel._model.schema import state
from couchmodel._model.schema.attachments import attachment_fields
from couchmodel._model.schema.expressions.conditions import Condition
from couchmodel._model.schema.expressions.places import Ordering
from couchmodel._model.store.repository import Repository
from couchmodel.errors import ConflictError, DocumentError, NotFoundError
from couchmodel.integrations._core.conditions import check_if_match, entity_tag, is_unchanged, require_if_match
from couchmodel.integrations._core.events import EVENT_STREAM_TYPE, change_events, find_sequence
from couchmodel.integrations._core.filters import ListOptions
from couchmodel.integrations._core.ids import reason_against_id
from couchmodel.integrations._core.members import hidden_fields, read_create, takes_ids
from couchmodel.integrations._core.messages import JSON_TYPE, Answer, Call
from couchmodel.integrations._core.problems import ProblemError, field_errors, invalid, is_of_other_type
from couchmodel.integrations._core.shown.documents import show, show_json
from couchmodel.integrations._core.shown.rows import ShownRows
from couchmodel.integrations._core.uploads import attachment_at, download, upload

__all__ = ["Resource", "check_found", "find_document"]

M = TypeVar("M", bound=CouchModel)

_ATTEMPTS: Final = 10
"""How often a write without a condition is tried that others come before."""


async def find_document(repository: Repository[M], id: str) -> M:
    """Return a document by an id from outside. Raises ProblemError 404 if there is none."""
    if reason_against_id(id) is not None:
        raise _missing(repository, id)
    try:
        return await repository.get(id)
    except NotFoundError as error:
        if error.reason in ("missing", "deleted"):
            raise _missing(repository, id) from None
        raise
    except DocumentError as error:
        if is_of_other_type(error):
            raise _missing(repository, id) from None
        raise


def check_unchanged(headers: Mapping[str, str], document: CouchModel) -> None:
    """Raise ProblemError 304 if a read names the revision of the document, so that the client has it."""
    if is_unchanged(headers, document.rev):
        raise ProblemError(304, "", headers={"etag": entity_tag(document.rev)})


def check_current(
    headers: Mapping[str, str], document: CouchModel, url: str | None = None, *, is_required: bool = False
) -> None:
    """Raise ProblemError 412, with the current document, if a write names another revision of it.

    Raises ProblemError 428 if a write has to name one and does not.
    """
    if is_required:
        require_if_match(headers)
    if not check_if_match(headers, document.rev):
        raise stale_problem(document, url)


def check_found(method: str, headers: Mapping[str, str], document: CouchModel, *, if_match_required: bool) -> None:
    """Check the conditions of a request for a document. Raises ProblemError 304, 412 or 428."""
    if method in ("GET", "HEAD"):
        check_unchanged(headers, document)
    else:
        check_current(headers, document, is_required=if_match_required)


def _missing(repository: Repository[Any], id: str) -> ProblemError:
    return ProblemError(404, f"{repository.model.__name__} {id!r} does not exist.")


def stale_problem(document: CouchModel, url: str | None) -> ProblemError:
    headers = {"etag": entity_tag(document.rev)}
    return ProblemError(412, f"{document.id!r} was changed.", headers=headers, current=show(document, url))


_KEPT_QUERIES: Final = 256
_KEPT_QUERY_CHARACTERS: Final = 1000
"""The number and the size of the queries of lists that are kept, since clients ask the same again and again."""


class Resource(Generic[M]):
    """The documents of one model in a web API."""

    def __init__(
        self, model: type[M], options: ListOptions, *, if_match_required: bool = False, shows_current: bool = True
    ) -> None:
        """``shows_current`` lets clients see the current document when their write names another revision."""
        self.model = model
        self.options = options
        self.if_match_required = if_match_required
        self.shows_current = shows_current
        self._rows = ShownRows(model)
        self._pages: dict[Any, tuple[tuple[Condition, ...], tuple[Ordering, ...], PageRequest]] = {}

    async def create(self, call: Call, repository: Repository[M], document: M) -> Answer:
        """Store a new document."""
        state.set_repository(document, repository)
        # The repository would go past a ``save`` of the class.
        await document.save()
        url = f"{call.url()}/{quote(document.id, safe='')}"
        return self._shown(201, document, url, {"location": url})

    async def changes(self, call: Call, repository: Repository[M]) -> Answer:
        """Return the changes of documents as server-sent events.

        They begin behind the event that a client has got last, or behind the sequence ``since`` of the query; without
        either, with the next change.
        """
        query = dict(call.query)
        # Browsers send the header when they come back, to the address that still has the parameter.
        since = call.headers.get("last-event-id") or query.get("since") or "now"
        sequence = await find_sequence(repository, since)
        # nginx gathers an answer before it passes it on, unless this header tells it not to.
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        events = change_events(repository, sequence, call.url(1))
        return Answer(200, events, headers, EVENT_STREAM_TYPE)

    async def read(self, call: Call, repository: Repository[M], id: str) -> Answer:
        """Return a document."""
        document = await find_document(repository, id)
        check_unchanged(call.headers, document)
        return self._shown(200, document, call.url())

    async def list(self, call: Call, repository: Repository[M]) -> Answer:
        """Return a page of documents."""
        query, request = self._page_of(repository, call)
        rows, token = await query.page_rows(request)
        # The documents are JSON texts already, so the page is put together of them.
        items = b",".join(self._rows.texts(repository, rows, call.url()))
        following = b"null" if token is None else b'"%b"' % token.encode()
        return Answer(200, b'{"items":[%b],"next":%b}' % (items, following), media_type=JSON_TYPE)

    def _page_of(self, repository: Repository[M], call: Call) -> tuple[Query[M], PageRequest]:
        """Return the query of a list, and what is asked for its page. Raises ProblemError for unfit parameters."""
        if type(repository) is not Repository:
            # Its queries may have conditions of their own, such as on the user of the request.
            query, size, after = self.options.apply(repository.find(), call.query)
            return query, query.page_request(size, after)
        key = repository.model, tuple(call.query)
        known = self._pages.get(key)
        if known is None:
            query, size, after = self.options.apply(repository.find(), call.query)
            known = query.conditions, query.orderings, query.page_request(size, after)
            if sum(len(name) + len(value) for name, value in call.query) <= _KEPT_QUERY_CHARACTERS:
                if len(self._pages) >= _KEPT_QUERIES:
                    self._pages.clear()
                self._pages[key] = known
        conditions, orderings, request = known
        return replace(repository.find(), conditions=conditions, orderings=orderings), request

    async def replace(self, call: Call, repository: Repository[M], id: str, given: Any) -> Answer:
        """Store a document with all the values of the request, in place of the one that is stored.

        A new one is stored under the id if clients give ids. Members that only the server sets may be sent back as they
        were read.
        """
        for attempt in range(_ATTEMPTS):
            try:
                document = await find_document(repository, id)
            except ProblemError as error:
                if error.status != 404 or not takes_ids(self.model) or reason_against_id(id):
                    raise
                return await self._put_new(call, repository, id, given)
            # ``If-None-Match: *`` asks that the document be new (RFC 9110, section 13.1.2).
            if is_unchanged({"if-none-match": call.headers.get("if-none-match", "")}, document.rev):
                raise self._stale(document, call.url())
            self._check_current(call, document)
            self._adopt(document, given, call.url())
            try:
                await document.save()
            except ConflictError as error:
                self._settle(call, error, attempt)
            else:
                return self._shown(200, document, call.url())
        raise AssertionError("the last try ends in its error")

    async def patch(self, call: Call, repository: Repository[M], id: str, patch: Mapping[str, Any]) -> Answer:
        """Change the members of a document that a patch names, merged with what others change meanwhile."""
        document = await find_document(repository, id)
        self._check_current(call, document)
        try:
            # A client that names a revision is told of another one. All others are merged with it.
            if "if-match" in call.headers:
                assign_patch(document, patch)
                await document.save()
            else:
                await document.update(patch)
        except ConflictError as error:
            # With this number of attempts, the error is raised at once.
            self._settle(call, error, _ATTEMPTS)
        return self._shown(200, document, call.url())

    async def delete(self, call: Call, repository: Repository[M], id: str) -> Answer:
        """Delete a document."""
        for attempt in range(_ATTEMPTS):
            document: M = await find_document(repository, id)
            self._check_current(call, document)
            try:
                await document.delete()
            except ConflictError as error:
                self._settle(call, error, attempt)
            else:
                break
        return Answer(204)

    async def upload(
        self, call: Call, repository: Repository[M], field: str, id: str, name: str | None = None
    ) -> Answer:
        """Store the attachment of a field, or one of those of a field that has several."""
        document, attachment = await self._attachment(call, repository, field, id, name)
        try:
            is_new = await upload(call, document, attachment, attachment_fields(self.model)[field])
        except ConflictError as error:
            self._settle(call, error, _ATTEMPTS)
            raise
        headers = {"etag": entity_tag(document.rev)}
        return Answer(201, headers={**headers, "location": call.url()}) if is_new else Answer(204, headers=headers)

    async def download(
        self, call: Call, repository: Repository[M], field: str, id: str, name: str | None = None
    ) -> Answer:
        """Return an attachment of a document, or a range of it."""
        document = await find_document(repository, id)
        return await download(call, document, attachment_at(document, field, name), name or field)

    async def remove(
        self, call: Call, repository: Repository[M], field: str, id: str, name: str | None = None
    ) -> Answer:
        """Delete an attachment of a document."""
        document, attachment = await self._attachment(call, repository, field, id, name)
        if not attachment:
            raise ProblemError(404, f"{id!r} has no {name or field!r}.")
        try:
            await attachment.delete()
        except ConflictError as error:
            self._settle(call, error, _ATTEMPTS)
        return Answer(204, headers={"etag": entity_tag(document.rev)})

    async def _attachment(
        self, call: Call, repository: Repository[M], field: str, id: str, name: str | None
    ) -> tuple[M, Any]:
        """Return a document and an attachment of it that is to be written."""
        document = await find_document(repository, id)
        self._check_current(call, document, 1 if name is None else 2)
        return document, attachment_at(document, field, name)

    def _shown(self, status: int, document: M, url: str, headers: Mapping[str, str] = {}) -> Answer:
        return Answer(status, show_json(document, url), {"etag": entity_tag(document.rev), **headers}, JSON_TYPE)

    def _check_current(self, call: Call, document: M, levels: int = 0) -> None:
        if self.if_match_required:
            require_if_match(call.headers)
        if not check_if_match(call.headers, document.rev):
            raise self._stale(document, call.url(levels))

    def _stale(self, document: M, url: str | None) -> ProblemError:
        """Return the problem of a write that names another revision, with the document if clients may read it."""
        problem = stale_problem(document, url)
        if not self.shows_current:
            # A client that may write a document may not always read it.
            del problem.members["current"]
        return problem

    def _settle(self, call: Call, error: ConflictError, attempt: int) -> None:
        """Return if a write is to be tried again. Raises the error, or ProblemError 412 if it has a condition."""
        if "if-match" in call.headers and error.theirs is not None:
            raise self._stale(error.theirs, None) from None
        if attempt + 1 >= _ATTEMPTS:
            raise error

    async def _put_new(self, call: Call, repository: Repository[M], id: str, given: Any) -> Answer:
        if "if-match" in call.headers:
            raise ProblemError(412, f"{id!r} does not exist.")
        document = self._read({**given, "id": id} if isinstance(given, dict) else given, id)
        state.set_repository(document, repository)
        await document.save()
        return self._shown(201, document, call.url(), {"location": call.url()})

    def _adopt(self, document: M, given: Any, url: str) -> None:
        """Give a document the values of the request, except for those that only the server sets."""
        hidden = hidden_fields(self.model, "create") | {"id", "rev"}
        shown = show(document, url)
        if isinstance(given, dict):
            # Clients send back what they have read. Members that only the server sets are taken if they are as stored.
            own = {
                name
                for name, value in given.items()
                if field_of_input(self.model, name) in hidden and name in shown and value == shown[name]
            }
            given = {name: value for name, value in given.items() if name not in own}
            # The revision is not the stored one, so the client has read an older document.
            if isinstance(given.get("rev"), str):
                raise self._stale(document, url)
            if takes_ids(self.model):
                given = {"id": document.id, **given}
        replacement = self._read(given, document.id, shown)
        # A field that clients may not set keeps its value, where the replacement has a default.
        kept = {name: vars(document)[name] for name in hidden if name in vars(document)}
        _keep_read_only(document, replacement)
        codec.adopt_values(document, replacement)
        vars(document).update(kept)

    def _read(self, given: Any, id: str, shown: Mapping[str, Any] | None = None) -> M:
        try:
            document = read_create(self.model, given, shown)
        except ValidationError as error:
            raise invalid(field_errors(error.errors(include_url=False, include_context=False), "body")) from None
        if takes_ids(self.model) and document.id != id:
            raise ProblemError(422, "The id of the body is not that of the address.")
        return document


def _keep_read_only(stored: BaseModel, replacement: BaseModel) -> None:
    """Give embedded models of a replacement the values that only the server sets."""
    for name in type(replacement).__pydantic_fields__:
        before, after = getattr(stored, name, None), getattr(replacement, name)
        if isinstance(before, BaseModel) and isinstance(after, BaseModel) and type(before) is type(after):
            vars(after).update({each: getattr(before, each) for each in hidden_fields(type(after), "create")})
            _keep_read_only(before, after)
