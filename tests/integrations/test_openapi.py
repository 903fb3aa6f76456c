"""What an application says of itself in OpenAPI is what it does, whatever it is sent."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import pytest
import requests
import schemathesis
import uvicorn
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks, not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from couchmodel import CouchModel
from couchmodel.integrations.fastapi import add_problem_details, crud_router, lifespan
from tests.integrations.models import Dish, Place

EXAMPLES = int(os.environ.get("COUCHMODEL_TEST_EXAMPLES", "2"))
"""How many requests are made up for each operation."""

UNCHECKED: Any = list(HealthCheck)

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


class StoredDish(Dish, database="dishes"):
    pass


class StoredPlace(Place, database="places"):
    pass


BODIES: dict[type[CouchModel], dict[str, Any]] = {
    StoredDish: {"title": "Pie", "author": {"name": "Ada"}, "scores": {"a": 1}},
    StoredPlace: {"id": "rome"},
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The URL of an application with routers of several models."""
    app = FastAPI(lifespan=lifespan(*BODIES, url="memory:"))
    add_problem_details(app)
    for model in BODIES:
        app.include_router(crud_router(model, exclude=["changes"]), prefix=f"/{model.__declared__.database}")
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    host, port = server.servers[0].sockets[0].getsockname()[:2]
    yield f"http://{host}:{port}"
    server.should_exit = True
    thread.join()


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_no_request_is_answered_in_another_way_than_described(url: str, mode: GenerationMode) -> None:
    load_all_checks()
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    operations: list[Any] = list(schema.get_all_operations())
    assert sum(ask_all(url, found.ok(), mode) for found in operations) > EXAMPLES


def ask_all(url: str, operation: Any, mode: GenerationMode) -> int:
    """Send made-up requests for one operation, half of them for a document that exists. Return how many."""
    database = operation.path.split("/")[1]
    (body,) = (body for model, body in BODIES.items() if model.__declared__.database == database)
    count = 0
    if mode is GenerationMode.NEGATIVE and EXAMPLES < 10 and not (operation.body or operation.query):
        return 0  # there is little to send that is wrong, so it takes long to find

    @given(case=operation.as_strategy(generation_mode=mode), is_known=st.booleans())
    @settings(max_examples=EXAMPLES, database=None, phases=[Phase.generate], suppress_health_check=UNCHECKED)
    def ask(case: Any, is_known: bool) -> None:
        nonlocal count
        if is_known and "id" in case.path_parameters:
            case.path_parameters["id"] = quote(known_id(f"{url}/{database}", body), safe="")
        case.validate_response(case.call(timeout=60), checks=CHECKS)
        count += 1

    with suppress(Unsatisfiable):  # of some operations there are no wrong requests
        ask()
    return count


def known_id(collection: str, body: dict[str, Any]) -> str:
    """Return the id of a document that exists."""
    listed = requests.get(collection, timeout=60).json()["items"]
    found: dict[str, Any] = listed[0] if listed else requests.post(collection, json=body, timeout=60).json()
    return str(found["id"])
