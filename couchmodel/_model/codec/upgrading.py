"""The upgrade of a stored document of an older version, before it is read."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from couchmodel._model.schema.base import DocumentModel
from couchmodel._model.schema.kinds import kind_of
from couchmodel._model.schema.members.versions import VERSION_MEMBER, Upgrade, upgrades_of, version_of
from couchmodel._wire.messages import decode, encode
from couchmodel.errors import DocumentError

__all__ = ["upgrading_of"]

_TEXT: Final = rb'"[^"\\]*+"'  # possessive, so that a long text without an end is read once
"""A text without escapes, as ids and types mostly are. Others are parsed."""


def upgrading_of(
    model: type[DocumentModel], kinds: Mapping[str, type[DocumentModel]]
) -> Callable[[bytes], bytes] | None:
    """Return the function that upgrades the JSON text of a document of a model; None for a model without upgrades.

    ``kinds`` are the model and its subclasses by type, each of which may have upgrades of its own.
    """
    upgrades = {kind: found for kind in {model, *kinds.values()} if (found := upgrades_of(kind))}
    return _Upgrading(model, kinds, upgrades).upgrade if upgrades else None


class _Upgrading:
    def __init__(
        self,
        model: type[DocumentModel],
        kinds: Mapping[str, type[DocumentModel]],
        upgrades: Mapping[type[DocumentModel], tuple[Upgrade, ...]],
    ) -> None:
        self._model = model
        self._kinds = kinds
        self._upgrades = upgrades
        type_name = re.escape(encode(model.__declared__.type_field))
        # Most documents are of the newest version, and begin as a save writes them. They need not be parsed here.
        self._head = re.compile(
            rb'\{"_id":%b(?:,"_rev":%b)?(?:,%b:(%b))?,"%b":(\d+)[,}]'
            % (_TEXT, _TEXT, type_name, _TEXT, VERSION_MEMBER.encode())
        )
        self._newest: dict[bytes | None, bytes] = {
            encode(name): b"%d" % kind.__declared__.version for name, kind in kinds.items()
        } or {None: b"%d" % model.__declared__.version}

    def upgrade(self, body: bytes) -> bytes:
        """Return the JSON text of a document in the newest version.

        A document of a newer version than the class is left as it is. Raises DocumentError if an upgrade fails.
        """
        head = self._head.match(body)
        if head is not None and self._newest.get(head[1]) == head[2]:
            return body
        try:
            stored = decode(body)
        except ValueError:  # its validation says what is wrong
            return body
        kind = kind_of(self._model, self._kinds, stored) if isinstance(stored, dict) else None
        if kind is None or kind not in self._upgrades:
            return body
        version = version_of(stored)
        if version is None:
            said = f"its {VERSION_MEMBER} is {stored[VERSION_MEMBER]!r}, and no number from 1"
            raise _error(kind, stored, f"cannot be read: {said}")
        newest = kind.__declared__.version
        if version >= newest:
            return body
        upgraded = dict(stored)
        for step in self._upgrades[kind]:
            if step.to > version:
                _run(step, upgraded, kind, f"cannot be upgraded from version {version} to {newest}")
        return _encode(kind, stored, upgraded)


def _run(step: Upgrade, stored: dict[str, Any], kind: type[DocumentModel], failure: str) -> None:
    """Run one upgrade. Raises DocumentError, with the words ``failure``, if it fails."""
    id = {"_id": stored.get("_id")}
    where = f"{failure}: {step.name}(), the upgrade to version {step.to},"
    try:
        result = step.function(stored)
    except Exception as error:
        raise _error(kind, id, f"{where} raised {type(error).__name__}: {error}") from error
    if result is not None:
        raise _error(
            kind, id, f"{where} returned {type(result).__name__}, and has to change the dictionary it is given"
        )


def _encode(kind: type[DocumentModel], stored: Mapping[str, Any], upgraded: Mapping[str, Any]) -> bytes:
    """Return the JSON text of an upgraded document. CouchDB's own members stay as they are stored."""
    # The members come in the order that a save writes, by which ``_head`` knows the version without parsing.
    own = {name: value for name, value in stored.items() if name in ("_id", "_rev")}
    type_field = kind.__declared__.type_field
    if kind.__declared__.type is not None and type_field in upgraded:
        own[type_field] = upgraded[type_field]
    own[VERSION_MEMBER] = kind.__declared__.version
    members = {name: value for name, value in upgraded.items() if name not in own and not name.startswith("_")}
    couchdb = {name: value for name, value in stored.items() if name not in own and name.startswith("_")}
    try:
        return encode({**own, **members, **couchdb})
    except DocumentError as error:
        raise _error(kind, stored, f"cannot be upgraded: its upgrades made a value that is no JSON: {error}") from None


def _error(kind: type[DocumentModel], stored: Mapping[str, Any], said: str) -> DocumentError:
    id = stored.get("_id")
    return DocumentError(f"{kind.__name__} {id!r} {said}", model=kind.__name__, document_id=id, errors=[])
