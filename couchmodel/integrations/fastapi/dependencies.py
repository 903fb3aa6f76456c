"""Dependencies of FastAPI: the connection, and the document of a path."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from fastapi import Depends, Request, Response

from couchmodel._model.model import Connection, CouchModel
from couchmodel._model.store.repository import Repository
from couchmodel.integrations._core.conditions import entity_tag
from couchmodel.integrations._core.problems import ProblemError
from couchmodel.integrations._core.resource import check_found, find_document
from couchmodel.integrations.fastapi.faces import require_model
from couchmodel.integrations.starlette import HTTPProblem, session

__all__ = ["Found", "Session", "found"]

M = TypeVar("M", bound=CouchModel)


async def find_session(request: Request) -> Connection:
    """Return the connection for a request."""
    return session(request)


Session = Annotated[Connection, Depends(find_session)]
"""The connection for a request, of its user or of the application: ``couch: Session``."""


def found(
    model: type[M], *, repository: Callable[..., Any] | None = None, if_match_required: bool = False
) -> Callable[..., Awaitable[M]]:
    """Return the dependency that :class:`Found` is, with options.

    ``repository`` is a dependency that returns the repository to look in, such as that of a tenant. A read whose
    ``If-None-Match`` names the revision is answered with 304, and a write whose ``If-Match`` does not name it with 412.
    With ``if_match_required``, a write without ``If-Match`` is answered with 428.
    """

    async def own_repository() -> Repository[M]:
        return model.repository()

    # FastAPI finds dependencies in the defaults of a function.
    get_repository = Depends(repository or own_repository)

    async def find(request: Request, response: Response, id: str, repository: Any = get_repository) -> M:
        try:
            document: M = await find_document(repository, id)
            check_found(request.method, request.headers, document, if_match_required=if_match_required)
        except ProblemError as problem:
            raise HTTPProblem(problem) from None
        if request.method in ("GET", "HEAD"):
            # FastAPI adds the headers of this response to that of the function.
            response.headers["etag"] = entity_tag(document.rev)
        return document

    return find


if TYPE_CHECKING:
    Found = Annotated[M, Depends()]
    """The document of the ``id`` in the path, which is answered with 404 if it does not exist."""
else:

    class Found:
        """The document of the ``id`` in the path, which is answered with 404 if it does not exist."""

        def __class_getitem__(cls, model: type[CouchModel]) -> Any:
            return Annotated[model, Depends(found(require_model(model)))]
