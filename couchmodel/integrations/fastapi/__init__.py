"""Models in applications of FastAPI: faces of a model, a router of CRUD, and errors as problem details."""

try:
    import fastapi as _  # noqa: F401 - is it installed?
except ImportError as error:
    raise ImportError("couchmodel.integrations.fastapi needs an extra: pip install 'couchmodel[fastapi]'") from error

from couchmodel.integrations._core.operations import OperationName
from couchmodel.integrations.fastapi.dependencies import Found, Session, found
from couchmodel.integrations.fastapi.errors import add_problem_details
from couchmodel.integrations.fastapi.faces import Create, Patch, Read
from couchmodel.integrations.fastapi.router import crud_router
from couchmodel.integrations.starlette import UserSessions, lifespan

__all__ = [
    "Create",
    "Found",
    "OperationName",
    "Patch",
    "Read",
    "Session",
    "UserSessions",
    "add_problem_details",
    "crud_router",
    "found",
    "lifespan",
]
