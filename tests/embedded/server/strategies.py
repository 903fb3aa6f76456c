"""Requests of every kind, mostly such that the store has something to do, and some that nobody should send."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from hypothesis import strategies as st

__all__ = ["CURRENT", "Ask", "requests"]

CURRENT = "CURRENT"  # stands for the revision that the document has


class Ask(NamedTuple):
    """A request in the making."""

    method: str
    path: tuple[str, ...]
    query: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}
    body: Any = None  # bytes as they are, anything else as JSON


NUMBERS = [0, 1, -1, 5, 0.5, -0.0, 5e-324, 1e308, 2**31, 2**53 + 1, 2**59, 2**63, 2**64, -(2**63) - 1, 10**30, 10**400]
TEXTS = [
    "",
    "a",
    "b",
    "..",
    ".",
    "a/b",
    "\x00",
    "é",
    "\U0001f967",
    "_a",
    "_design/d",
    "_local/l",
    "x" * 300,
    "0",
    "-1",
    "true",
]
IDS = ["a", "b", "c", "_design/d", "_local/l", "é", "\x00", "..", "", "_x"]
REVS = [
    CURRENT,
    CURRENT,
    "1-a",
    "1-b",
    "2-c",
    "0-1",
    "1-967a00dff5e02add41819138abb3284d",
    "x",
    "",
    "-",
    "9" * 30 + "-a",
    7,
    None,
]

values = st.recursive(
    st.none() | st.booleans() | st.sampled_from(NUMBERS) | st.sampled_from(TEXTS) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(TEXTS) | st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)
revs = st.sampled_from(REVS)


def members(required: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with some of these members; a value is mostly of the right kind."""
    return st.fixed_dictionaries(
        {name: kind | values if name != "docs" else kind for name, kind in required.items()},
        optional={name: kind | values for name, kind in optional.items()},
    )


attachment = members(
    {},
    {
        "data": st.sampled_from(["", "eA==", "eHh4eHg=", "!", "e"]),
        "stub": st.just(True),
        "follows": st.just(True),
        "content_type": st.sampled_from(["text/plain", "image/png", ""]),
        "revpos": st.integers(0, 3),
        "encoding": st.just("gzip"),
        "digest": st.just("md5-x"),
        "length": st.integers(0, 9),
    },
)
document = members(
    {},
    {
        "_id": st.sampled_from(IDS),
        "_rev": revs,
        "_deleted": st.booleans(),
        "_attachments": st.dictionaries(st.sampled_from(["f", "g", "_h", ""]), attachment, max_size=2),
        "_revisions": members(
            {}, {"start": st.integers(-1, 4), "ids": st.lists(st.sampled_from(["a", "b", "c", "x" * 32]), max_size=4)}
        ),
        "_conflicts": st.just([]),
        "n": st.integers(0, 3),
        "views": members(
            {}, {"v": members({}, {"map": st.just("function(doc) {emit(doc.n)}"), "reduce": st.just("_sum")})}
        ),
        "language": st.sampled_from(["javascript", "query", "erlang"]),
        "validate_doc_update": st.just("function() {}"),
        "_zork": st.just(1),
    },
)
OPERATORS = [
    "$eq",
    "$gt",
    "$lt",
    "$ne",
    "$in",
    "$nin",
    "$all",
    "$and",
    "$or",
    "$not",
    "$nor",
    "$exists",
    "$type",
    "$size",
    "$mod",
    "$regex",
    "$elemMatch",
    "$allMatch",
    "$keyMapMatch",
    "$beginsWith",
    "$text",
    "$zork",
]
selector = st.recursive(
    values,
    lambda inner: st.dictionaries(
        st.sampled_from([*OPERATORS, "n", "_id", "a.b", "a..b", ""]), inner | st.lists(inner, max_size=2), max_size=2
    ),
    max_leaves=5,
)
fields = st.lists(
    st.sampled_from(["n", "_id", "a.b", "", "a."])
    | st.fixed_dictionaries({"n": st.sampled_from(["asc", "desc", "x"])}),
    max_size=2,
)
index = members({}, {"fields": fields, "partial_filter_selector": selector})
view_query = {
    "key": values,
    "keys": st.lists(values, max_size=3),
    "startkey": values,
    "endkey": values,
    "limit": st.integers(0, 3),
    "skip": st.integers(0, 3),
    "descending": st.booleans(),
    "include_docs": st.booleans(),
    "inclusive_end": st.booleans(),
    "reduce": st.booleans(),
    "group": st.booleans(),
    "group_level": st.integers(0, 2),
    "conflicts": st.booleans(),
    "attachments": st.booleans(),
    "update_seq": st.booleans(),
    "startkey_docid": st.text(max_size=2),
    "stable": st.booleans(),
    "update": st.sampled_from(["true", "lazy"]),
}
identified = members({}, {"id": st.sampled_from(IDS), "rev": revs, "atts_since": st.lists(revs, max_size=2)})
by_id = st.dictionaries(st.sampled_from(IDS), st.lists(revs, max_size=3) | values, max_size=2)

BODIES: dict[str, st.SearchStrategy[Any]] = {
    "_bulk_docs": members({"docs": st.lists(document, max_size=4)}, {"new_edits": st.booleans()}),
    "_bulk_get": members({"docs": st.lists(identified, max_size=3)}, {}),
    "_find": members(
        {"selector": selector},
        {
            "fields": fields,
            "sort": fields,
            "limit": st.integers(0, 3),
            "skip": st.integers(0, 3),
            "bookmark": st.sampled_from(["", "nil", "g1A"]),
            "use_index": st.sampled_from(["d", ["d", "i"]]),
            "execution_stats": st.booleans(),
            "conflicts": st.booleans(),
            "r": st.just(1),
            "allow_fallback": st.booleans(),
            "update": st.booleans(),
            "partition": st.text(max_size=2),
        },
    ),
    "_explain": members({"selector": selector}, {"sort": fields}),
    "_index": members(
        {"index": index},
        {
            "ddoc": st.sampled_from(["d", "_design/d"]),
            "name": st.just("i"),
            "type": st.sampled_from(["json", "text"]),
            "partitioned": st.booleans(),
        },
    ),
    "_index/_bulk_delete": members({"docids": st.lists(st.sampled_from(IDS), max_size=2)}, {}),
    "_all_docs": members({}, view_query),
    "_all_docs/queries": members({"queries": st.lists(members({}, view_query), max_size=2)}, {}),
    "_design_docs": members({}, view_query),
    "_local_docs": members({}, view_query),
    "_changes": members({}, {"doc_ids": st.lists(st.sampled_from(IDS), max_size=2), "selector": selector}),
    "_revs_diff": by_id,
    "_missing_revs": by_id,
    "_purge": by_id,
    "_purged_infos_limit": values,
    "_revs_limit": values,
    "_security": members(
        {},
        {
            part: members(
                {},
                {
                    "names": st.lists(st.text(max_size=2), max_size=1),
                    "roles": st.lists(st.text(max_size=2), max_size=1),
                },
            )
            for part in ("admins", "members")
        },
    ),
    "_compact": values,
    "_compact/d": values,
    "_view_cleanup": values,
    "_ensure_full_commit": values,
    "_design/d": document,
    "_design/d/_info": values,
    "_design/d/_view/v": members({}, view_query),
    "_design/d/_view/v/queries": members({"queries": st.lists(members({}, view_query), max_size=2)}, {}),
    "_design/d/_update/u": values,
    "_design/d/_show/s": values,
    "_design/d/_list/l/v": values,
    "_design/d/f": values,
    "_index/d/json/i": values,
    "_index/_design/d/json/i": values,
    "_local/l": document,
    "_partition/a": values,
    "_partition/a/_all_docs": members({}, view_query),
    "_partition/a/_find": members({"selector": selector}, {}),
    "_shards": values,
    "_sync_shards": values,
    "": document,
    "a": document,
    "b": document,
    "a/f": values,
    "a/f/g": values,
    "é": document,
    "\x00": document,
    "..": document,
}

QUERY: dict[str, st.SearchStrategy[Any]] = {
    "rev": revs.map(str),
    "open_revs": st.sampled_from(["all", '["1-a"]', "[]", "[1]", "{", '["x"]']),
    "atts_since": st.sampled_from(['["1-a"]', "[]", "x"]),
    "since": st.sampled_from(["0", "now", "1", "2-x", "-1", "9" * 30, "9" * 5000, '"0"', "0-", "null"]),
    "feed": st.sampled_from(["normal", "longpoll", "continuous", "eventsource", "live", "x"]),
    "filter": st.sampled_from(["_doc_ids", "_selector", "_design", "_view", "_x", "d/f", "x", "", "/", "d/"]),
    "view": st.sampled_from(["d/v", "x", "", "d/"]),
    "doc_ids": st.sampled_from(['["a"]', "[1]", "{", "1"]),
    "style": st.sampled_from(["all_docs", "main_only", "x"]),
    "timeout": st.sampled_from(["0", "1", "-1", "x", "9" * 5000]),
    "heartbeat": st.sampled_from(["1", "0", "true", "x", "9" * 5000]),
    "count": st.sampled_from(["0", "3", "1001", "x", "9" * 5000, "²"]),
    "new_edits": st.sampled_from(["false", "true", "x"]),
    "batch": st.just("ok"),
    "bookmark": st.text(max_size=3),
    "keys": st.sampled_from(["[1]", '["a"]', "{", "1"]),
    "partitioned": st.sampled_from(["true", "false", "x"]),
    "q": st.sampled_from(["1", "x", "0"]),
    **dict.fromkeys(
        (
            "revs",
            "revs_info",
            "conflicts",
            "deleted_conflicts",
            "local_seq",
            "meta",
            "latest",
            "attachments",
            "att_encoding_info",
            "deleted",
            "include_docs",
            "descending",
            "inclusive_end",
            "update_seq",
            "reduce",
            "group",
            "sorted",
            "stable",
        ),
        st.sampled_from(["true", "false", "x", ""]),
    ),
    **dict.fromkeys(
        ("limit", "skip", "group_level"), st.sampled_from(["0", "1", "-1", "x", "9" * 30, "9" * 5000, "²", "1.5"])
    ),
    **dict.fromkeys(
        ("key", "startkey", "endkey", "start_key", "end_key"),
        st.sampled_from(['"a"', "1", "{", "[" * 5000, '"\ud800"', "null", "{}", "1e999"]),
    ),
}

HEADERS: dict[str, st.SearchStrategy[Any]] = {
    "content-type": st.sampled_from(
        [
            "application/json",
            "text/plain",
            "multipart/related;boundary=x",
            "multipart/related",
            "",
            "multipart/form-data",
        ]
    ),
    "accept": st.sampled_from(["multipart/mixed", "multipart/related", "text/html", "*/*", ""]),
    "if-match": st.sampled_from(['"1-a"', "x", CURRENT]),
    "if-none-match": st.sampled_from(['"1-a"', "*", "x"]),
    "destination": st.sampled_from(
        ["b", "b?rev=1-a", "http://x/db/b", "", "?", "%ff", "%", "_x", "_design/d", "/db/b", "\x00", "b?rev"]
    ),
    "range": st.sampled_from(["bytes=0-", "bytes=-1", "bytes=9-1", "bytes=0-0,2-3", "x", "bytes=" + "9" * 5000 + "-"]),
    "content-encoding": st.sampled_from(["gzip", "identity", "br"]),
    "accept-encoding": st.just("gzip"),
    "content-md5": st.sampled_from(["x", "rL0Y20zC+Fzt72VPzMSk2A=="]),
    "content-length": st.sampled_from(["1", "-1", "x"]),
    "x-couch-full-commit": st.just("false"),
    "last-event-id": st.sampled_from(["1", "x"]),
    "host": st.sampled_from(["", "x:1", "é"]),
    "referer": st.just("http://x/"),
    "cookie": st.sampled_from(["AuthSession=x", "AuthSession=", "=", "AuthSession=YTo2OmI"]),
    "authorization": st.sampled_from(["Basic YTpi", "Basic !", "Bearer a.b.c", "x"]),
}

METHODS = ["GET", "HEAD", "PUT", "POST", "DELETE", "COPY", "PATCH", "OPTIONS", ""]
RAW = [
    b"",
    b"{",
    b"[]",
    b'""',
    b"\xff",
    b'{"a": NaN}',
    b'{"a": 1e999}',
    b'"\\ud800"',
    b"{}" * 2,
    b"[" * 10_000,
    b"\xef\xbb\xbf{}",
    b"--x\r\n\r\n{}\r\n--x--",
]
SERVER = [
    "_up",
    "_uuids",
    "_all_dbs",
    "_dbs_info",
    "_active_tasks",
    "_membership",
    "_session",
    "_utils",
    "_replicate",
    "_db_updates",
    "_node",
    "_scheduler",
    "_cluster_setup",
    "_zork",
    "nowhere",
    "DB",
    "_users",
    "_replicator",
    "\ud800",
    "favicon.ico",
    "",
]


@st.composite
def requests(draw: st.DrawFn) -> Ask:
    query = draw(
        st.dictionaries(st.sampled_from([*QUERY]), st.none(), max_size=2).flatmap(
            lambda names: st.fixed_dictionaries({name: QUERY[name] for name in names})
        )
    )
    headers = draw(
        st.dictionaries(st.sampled_from([*HEADERS]), st.none(), max_size=1).flatmap(
            lambda names: st.fixed_dictionaries({name: HEADERS[name] for name in names})
        )
    )
    method = draw(st.sampled_from(METHODS))
    if draw(st.integers(0, 9)) == 0:
        path = draw(
            st.tuples(st.sampled_from(SERVER))
            | st.lists(st.sampled_from([*SERVER, *TEXTS, "\ud800"]), max_size=4).map(tuple)
        )
        return Ask(method, path, query, headers, draw(values | st.sampled_from(RAW)))
    place = draw(st.sampled_from([*BODIES]))
    body = draw(BODIES[place] if draw(st.integers(0, 9)) else values | st.sampled_from(RAW))
    if draw(st.booleans()):  # the method that does something
        method = "PUT" if place[:1] != "_" or place.startswith(("_design", "_local/", "_security", "_revs")) else "POST"
    return Ask(method, ("db", *(place.split("/") if place else ())), query, headers, body)
