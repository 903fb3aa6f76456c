"""Which transport a URL stands for, and what is said of one that stands for none."""

import pytest

from couchmodel import ConfigurationError
from couchmodel.engine import CouchDB
from couchmodel.transports import EmbeddedTransport, HTTPTransport, open_transport


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("http://localhost:5984", HTTPTransport),
        ("https://user:pw@db.example/couch/", HTTPTransport),
        ("HTTP://[::1]:5984", HTTPTransport),
        ("memory:", EmbeddedTransport),
        ("sqlite:kitchen.db", EmbeddedTransport),
        ("sqlite:/var/lib/kitchen.db", EmbeddedTransport),
    ],
)
def test_a_url_picks_its_transport(url: str, kind: type) -> None:
    assert isinstance(open_transport(url), kind)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://me:secret@host/x", "unknown.*http://HOST:PORT.*memory:"),
        ("postgresql://me:secret@host/x", "unknown"),
        ("localhost:5984", "did you mean 'http://localhost:5984'"),
        ("kitchen.db", "no scheme: did you mean 'sqlite:kitchen.db'"),
        ("./kitchen", "no scheme: did you mean 'sqlite:./kitchen'"),
        ("C:\\kitchen.db", "did you mean 'sqlite:C:"),
        ("", "no scheme"),
        ("sqlite:", "names no file"),
        ("sqlite:///kitchen.db", "plain path"),
        ("http://", "names no server"),
        ("http://me:secret@:5984", "names no server"),
        ("http://me:secret@host:99999", "malformed"),
        ("http://me:secret@host?x=1", "query"),
    ],
)
def test_any_other_url_is_refused_without_its_password(url: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        CouchDB(url)
    assert "secret" not in str(caught.value)


def test_no_repr_shows_a_password() -> None:
    couch = CouchDB("http://me:secret@localhost:5984")
    assert "secret" not in repr(couch)
    assert "localhost" in repr(couch)


@pytest.mark.parametrize(
    "url",
    [
        "http://me:SEC/RET@127.0.0.1:5984",
        "http://me:12/SECRET@host",
        "http:/me:SECRET@host",
        "sqlite://me:SECRET@host/db",
        "me:SECRET@host:5984",
        "couch://me:SEC@RET@host",
    ],
)
def test_a_malformed_url_is_refused_without_any_part_of_its_password(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        CouchDB(url)
    assert not {"SEC", "RET"} & {str(caught.value)[n : n + 3] for n in range(len(str(caught.value)))}
