"""Declared views: map functions that a design document describes beside their JavaScript.

The member ``couchmodel`` of such a view is a declaration. It says what the JavaScript does, so a store need not run it:

* ``keys`` are the paths of the keys' members. A document that lacks one of them has no row. ``list`` says that the key
  is an array of them, even of one.
* ``each`` is the number of the key that is an array, with a row for each of its elements; null for none.
* ``value`` is the path of the value's member, or null. A document that lacks it has no row. ``numbers`` says that the
  value is a number, and ``linked`` that it is an id, which is emitted as CouchDB's link, ``{"_id": …}``.
* ``where`` is the condition for a row: ``["all", [condition, …]]``, ``["any", [condition, …]]``, ``["not",
  condition]``, ``["exists", path]``, ``["in", path, [value, …]]``, or ``["<", path, value]`` with one of ``<``, ``<=``,
  ``>`` and ``>=``. A comparison holds for values of the operand's type only, and texts compare by their UTF-16 units.
* ``digest`` is the digest of the declaration and its JavaScript. If it does not fit, somebody has changed one of them,
  and the JavaScript counts.

A path is an array of names of members. It does not lead through arrays.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["DECLARATION", "ORDER_OPERATORS", "declaration_digest"]

DECLARATION: Final = "couchmodel"
"""The member of a view that is its declaration."""

ORDER_OPERATORS: Final = ("<", "<=", ">", ">=")


def declaration_digest(declaration: Mapping[str, Any], javascript: str) -> str:
    """Return the digest of a declaration, without its digest, and of the JavaScript that does the same."""
    said = {name: value for name, value in declaration.items() if name != "digest"}
    text = json.dumps([said, javascript], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
