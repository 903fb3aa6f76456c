"""The declaration of a guard, and its check of documents.

A guard is the design document that has the rules of a model. CouchDB runs its JavaScript, ``validate_doc_update``. The
embedded store checks the same declaration here, without JavaScript.

A declaration is JSON::

    {"model": "Recipe", "type_member": "type", "type": "recipe", "version_member": "schema_version", "version": 1,
     "rules": {"document": {"is": "object", "members": [{"name": "title", "required": true, "rule": {"is": "text"}}]}}}

The rules are those of ``guard_rules.py``.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Final

from couchmodel._wire.bucket_ids import BUCKET_PREFIX
from couchmodel._wire.guard_rules import NamedChecks, TooComplexError, compile_rule, is_number
from couchmodel.types import JSONObject

__all__ = ["DESIGN_PREFIX", "MEMBER", "PROBE_PREFIX", "Guard", "digest_of", "probe_of"]

DESIGN_PREFIX: Final = "_design/couchmodel-guard-"
"""The beginning of the ids of guards. The type of the documents follows, or the name of their class."""

MEMBER: Final = "couchmodel"
"""The member of a design document that has its declaration and digest."""

PROBE_PREFIX: Final = "couchmodel-guard-probe-"
"""The beginning of the ids of probes: deletions that a guard refuses, which shows that it is in force."""


def digest_of(declaration: JSONObject, function: str) -> str:
    """Return the digest of a declaration and its JavaScript. If it does not fit any more, the JavaScript counts."""
    # The order of members says nothing in JSON, and a program in between may change it.
    text = json.dumps([declaration, function], sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def probe_of(declaration: JSONObject) -> str:
    """Return the name of a guard's probe: a document that only this version of the guard refuses."""
    text = json.dumps(declaration, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Guard:
    """The check of a declaration. Raises KeyError, TypeError, ValueError or re.error for one that is malformed."""

    def __init__(self, declaration: JSONObject) -> None:
        self.declaration = declaration
        checks = self._checks = NamedChecks()
        for name, rule in declaration["rules"].items():
            checks[name] = compile_rule(rule, checks)
        self._check = checks["document"]
        self._type_member, self._type = declaration["type_member"], declaration["type"]
        self._version_member, self._version = declaration["version_member"], declaration["version"]
        self._probe = PROBE_PREFIX + probe_of(declaration)

    @classmethod
    def of_design(cls, design: Mapping[str, Any]) -> "Guard | None":
        """Return the guard in a design document; None if it has none, or if its JavaScript was changed."""
        try:
            declared = design[MEMBER]
            if declared["digest"] != digest_of(declared["guard"], design["validate_doc_update"]):
                return None
            # A later version may have rules that this one does not know. Then the JavaScript is run.
            return cls(declared["guard"])
        except (KeyError, TypeError, ValueError, AttributeError, re.error):
            return None

    def find_breach(self, id: str, document: Mapping[str, Any], *, deleted: bool = False) -> str | None:
        """Return what is wrong with a document, as in ``"rating: has to be at most 5"``; None if it passes.

        A deletion passes, as does a document of another type or another version of the schema, or of a bucket.
        """
        # Before deletions pass, since a probe is one.
        if id.startswith(self._probe):
            return f"{self._probe} is in force"
        if deleted or id.startswith(("_design/", BUCKET_PREFIX)) or not self.concerns(document):
            return None
        self._checks.begin()
        try:
            breach = self._check(document)
        except (RecursionError, TooComplexError):
            return "document: is nested too deeply to be checked"
        if breach is None:
            return None
        reason, *path = breach
        return f"{'.'.join(reversed(path)) or 'document'}: {reason}"

    def concerns(self, document: Mapping[str, Any]) -> bool:
        """Return True if a document is of the type and the version of the guard."""
        if self._type_member is not None and document.get(self._type_member) != self._type:
            return False
        if self._version_member is None:
            return True
        # The member was left out as long as there was one version.
        version = document.get(self._version_member, 1)
        return is_number(version) and version == self._version
