"""Answer for the one node of the server and its configuration. Only administrators can be changed by requests."""

from typing import Final

from couchmodel._embedded import limits
from couchmodel._embedded.auth.authentication import Authentication
from couchmodel._embedded.auth.passwords import PRF
from couchmodel._embedded.server.exchange import Exchange
from couchmodel._embedded.server.request_body import json_body
from couchmodel._embedded.server.responses import json_answer
from couchmodel._embedded.settings import NODE
from couchmodel._wire.messages import Request, Response
from couchmodel.errors import (
    BadRequestError,
    MethodNotAllowedError,
    NotFoundError,
    PreconditionFailedError,
    UnsupportedError,
)

__all__ = ["delete", "get", "post", "put"]

ADMINS: Final = "admins"
"""The section of CouchDB's configuration that has the administrators."""

ICU: Final = "72.1"
"""The version of ICU whose collation the store follows."""


async def get(exchange: Exchange) -> Response:
    """Answer ``GET /_node/{node}`` and the paths below it: ``_versions`` and ``_config``."""
    request = exchange.request
    _check_node(request.path)
    if len(request.path) == 2:
        return json_answer(200, {"name": NODE})
    if request.path[2:] == ("_versions",):
        return json_answer(200, {"collation_driver": {"name": "libicu", "library_version": ICU}})
    keys = _config_keys(request.path)
    sections = await _sections(exchange.services.authentication)
    if not keys:
        return json_answer(200, sections)
    section = sections.get(keys[0], {})
    return json_answer(200, section if len(keys) == 1 else _value(section, keys[1]))


async def put(exchange: Exchange) -> Response:
    """Answer ``PUT /_node/{node}/_config/admins/{name}`` with the old value. A new administrator's is empty."""
    authentication = exchange.services.authentication
    name = _admin_name(exchange.request)
    password = await json_body(exchange.request)
    if not isinstance(password, str):
        raise BadRequestError("a JSON string expected")
    await authentication.open()  # it loads the stored administrators
    before = authentication.admins.get(name, "")
    await authentication.set_admin(name, password)
    return json_answer(200, before)


async def delete(exchange: Exchange) -> Response:
    """Answer ``DELETE /_node/{node}/_config/admins/{name}`` with the old value."""
    authentication = exchange.services.authentication
    name = _admin_name(exchange.request)
    await authentication.open()
    before = _value(authentication.admins, name)
    await authentication.remove_admin(name)
    return json_answer(200, before)


async def post(exchange: Exchange) -> Response:
    """Refuse ``POST /_node/{node}/_config/_reload`` and ``_restart``, which the program that runs the store does."""
    _check_node(exchange.request.path)
    raise UnsupportedError(
        "The program that runs the store restarts and configures it: `couchmodel serve --help` has the options."
    )


def _check_node(path: tuple[str, ...]) -> None:
    if len(path) < 2:
        raise BadRequestError("Incomplete path to _node request")
    # What `chttpd_node` answers for a node that it cannot reach.
    if path[1] not in ("_local", NODE):
        raise PreconditionFailedError(f"{path[1]} is down", code="nodedown")


def _config_keys(path: tuple[str, ...]) -> tuple[str, ...]:
    """Return the section and the key in a path below ``_config``: both, only the section, or none."""
    if path[2] != "_config":
        raise UnsupportedError(f"The embedded store keeps no {path[2]}: it has no node of Erlang to tell of.")
    if len(path) > 5:
        raise NotFoundError("missing")
    return path[3:]


def _admin_name(request: Request) -> str:
    """Return the name of the administrator whom a request changes. Raises ResponseError for anything else."""
    _check_node(request.path)
    keys = _config_keys(request.path) if len(request.path) > 2 else ()
    # CouchDB has no handler for PUT and DELETE above a single key.
    if len(keys) != 2:
        raise MethodNotAllowedError("Only GET allowed")
    if keys[0] != ADMINS:
        raise UnsupportedError(
            "Only administrators can be changed by request; the rest are options of `couchmodel serve`."
        )
    return keys[1]


def _value(section: dict[str, str], key: str) -> str:
    if key not in section:
        raise NotFoundError("unknown_config_value")
    return section[key]


async def _sections(authentication: Authentication) -> dict[str, dict[str, str]]:
    """Return the configuration in force, under CouchDB's names. The secret of the sessions is left out."""
    await authentication.open()
    configuration = authentication.configuration
    cors = configuration.cors
    sections = {
        ADMINS: dict(authentication.admins),
        "chttpd": {
            "enable_cors": _boolean_text(cors is not None),
            "max_http_request_size": str(configuration.max_request_size),
            "require_valid_user": _boolean_text(configuration.require_valid_user),
        },
        "chttpd_auth": {
            "authentication_db": "_users",
            # CouchDB's names and texts, as Fauxton and other clients read them.
            "hash_algorithms": "sha256, sha",
            "iterations": str(limits.PASSWORD_ROUNDS),
            "pbkdf2_prf": PRF,
            "timeout": str(configuration.session_timeout),
        },
        "chttpd_auth_lockout": {"mode": "enforce" if configuration.lockout else "off"},
        "couchdb": {"max_document_size": str(limits.DOCUMENT_BYTES)},
    }
    if cors is not None:
        sections["cors"] = {"credentials": _boolean_text(cors.credentials), "origins": ", ".join(cors.origins)}
    return sections


def _boolean_text(value: bool) -> str:
    return "true" if value else "false"
