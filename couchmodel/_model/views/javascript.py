"""The writer of the JavaScript of declared views.

It is JavaScript of 2009 (ECMAScript 5), which all engines of CouchDB run. ``_wire.declared_views`` says what a
declaration means, and this is what it means in JavaScript.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

__all__ = ["write_map"]

_INHERITED: Final = frozenset({
    "constructor",
    "eval",
    "hasOwnProperty",
    "isPrototypeOf",
    "propertyIsEnumerable",
    "toLocaleString",
    "toSource",
    "toString",
    "unwatch",
    "valueOf",
    "watch",
})  # fmt: skip
"""The names that all objects have of their prototype, in some engine or other."""

_READ: Final = """\
  var own = Object.prototype.hasOwnProperty;
  function read(names) {
    var value = doc;
    for (var n = 0; n < names.length; n++) {
      if (typeof value !== "object" || value === null || Array.isArray(value) || !own.call(value, names[n])) {
        return undefined;
      }
      value = value[names[n]];
    }
    return value;
  }
"""

_IS_AMONG: Final = """\
  function isAmong(value, values) {
    for (var n = 0; n < values.length; n++) {
      if (value === values[n]) { return true; }
    }
    return false;
  }
"""


def write_map(declaration: Mapping[str, Any]) -> str:
    """Return the map function of a declaration."""
    where = _condition(declaration["where"])
    lines = [f"  if (!{where}) {{ return; }}"] if where != "(true)" else []
    keys = [f"key{n}" for n in range(len(declaration["keys"]))]
    lines += [_read_into(key, path) for key, path in zip(keys, declaration["keys"], strict=True)]
    lines += _read_value(declaration)
    each = declaration["each"]
    emitted = [key if n != each else f"{key}[n]" for n, key in enumerate(keys)]
    key = f"[{', '.join(emitted)}]" if declaration["list"] else emitted[0]
    emit = f"emit({key}, {_emitted_value(declaration)});"
    if each is None:
        lines.append(f"  {emit}")
    else:
        lines += [
            f"  if (!Array.isArray({keys[each]})) {{ return; }}",
            f"  for (var n = 0; n < {keys[each]}.length; n++) {{ {emit} }}",
        ]
    body = "\n".join(lines)
    helpers = (_READ if "read([" in body else "") + (_IS_AMONG if "isAmong(" in body else "")
    return "function (doc) {\n" + helpers + body + "\n}"


def _read_into(variable: str, path: Sequence[str]) -> str:
    return f"  var {variable} = {_read(path)}; if ({variable} === undefined) {{ return; }}"


def _read(path: Sequence[str]) -> str:
    """Return the expression that reads a member, or is undefined."""
    # The common case is written short, so that people can read the functions.
    if len(path) == 1 and path[0] not in _INHERITED and not path[0].startswith("__"):
        return f"doc[{_text(path[0])}]"
    return f"read({_text(path)})"


def _read_value(declaration: Mapping[str, Any]) -> list[str]:
    if declaration["value"] is None:
        return []
    lines = [_read_into("value", declaration["value"])]
    if declaration["numbers"]:
        # CouchDB's `_sum` and `_stats` end the whole query at a value that is no number.
        lines.append('  if (typeof value !== "number" || !isFinite(value)) { return; }')
    return lines


def _emitted_value(declaration: Mapping[str, Any]) -> str:
    if declaration["value"] is None:
        return "null"
    # CouchDB's join: with `include_docs`, the member `_id` of a value names the document to include.
    return 'typeof value === "string" ? {_id: value} : value' if declaration["linked"] else "value"


def _condition(condition: Sequence[Any]) -> str:
    match condition:
        case ["all", parts]:
            return f"({' && '.join(map(_condition, parts)) or 'true'})"
        case ["any", parts]:
            return f"({' || '.join(map(_condition, parts)) or 'false'})"
        case ["not", part]:
            return f"!{_condition(part)}"
        case ["exists", path]:
            return f"({_read(path)} !== undefined)"
        case ["in", path, [value]]:
            return f"({_read(path)} === {_text(value)})"
        case ["in", path, values]:
            return f"isAmong({_read(path)}, {_text(values)})"
        case [sign, path, operand]:
            read, kind = _read(path), "string" if isinstance(operand, str) else "number"
            # A number beyond the doubles is Infinity in JavaScript. The embedded store leaves it out, too.
            finite = f" && isFinite({read})" if kind == "number" else ""
            return f'(typeof {read} === "{kind}"{finite} && {read} {sign} {_text(operand)})'
        case _:
            raise ValueError(condition)


def _text(value: Any) -> str:
    """Return the literal of a JSON value, in ASCII: engines of 2009 do not take all of JSON for JavaScript."""
    return json.dumps(value)
