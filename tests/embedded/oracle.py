"""A real CouchDB to compare with, which ``COUCHMODEL_TEST_URL`` names."""

import base64
import http.client
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Final

import pytest

URL: Final = os.environ.get("COUCHMODEL_TEST_URL", "")

needs_oracle: Final = pytest.mark.couchdb

Call = Callable[..., Any]


@contextmanager
def fresh_database(name: str, options: str = "?q=1") -> Generator[Call]:
    """Sends a request to a database of its own, and gives the JSON of the answer whatever its status is.

    ``options`` are those of its making.
    """
    address = urllib.parse.urlsplit(URL)
    user = f"{urllib.parse.unquote(address.username or '')}:{urllib.parse.unquote(address.password or '')}"
    headers = {
        "Accept": "application/json",
        "Authorization": f"Basic {base64.b64encode(user.encode()).decode()}",
        "Content-Type": "application/json",
    }
    database = f"{address.scheme}://{address.hostname}:{address.port or 5984}/{name}-{time.time_ns()}"

    def send(method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(database + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return json.load(error)
        except http.client.IncompleteRead:  # an error that came when the answer had begun
            return {"error": "incomplete", "reason": ""}

    send("PUT", options)
    try:
        yield send
    finally:
        send("DELETE", "")
