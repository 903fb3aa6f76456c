"""The JavaScript of a guard: the rules of its declaration, and those checks of ``_wire/guard_rules.py`` that they need.

It keeps to what SpiderMonkey 1.8.5 of old CouchDBs knows. Arguments come from another realm, so it asks for the class
of a value and not for its constructor.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from couchmodel._wire.bucket_ids import BUCKET_PREFIX
from couchmodel._wire.guards import MEMBER, PROBE_PREFIX, digest_of, probe_of
from couchmodel.types import JSONObject

__all__ = ["design_of", "write_function"]

# Only the checks that a model needs are put together, so that the function stays short enough to be read in Fauxton.
_HEAD: Final = """\
function (newDoc, oldDoc, userCtx, secObj) {
  // The guard of the model %(model)s. couchmodel has written it, and writes it anew when the model changes.
  var has = Object.prototype.hasOwnProperty, classOf = Object.prototype.toString;

  function isObject(value) { return typeof value === "object" && value !== null && !isList(value); }
  function isList(value) { return classOf.call(value) === "[object Array]"; }
  function wrong(reason) { return {reason: reason, path: []}; }
  function at(name, found) {
    if (found) { found.path.unshift(String(name)); }
    return found;
  }
"""

# Bounds of texts are dates and instants, which sort as texts at one width only. The tolerance of `about_multiple` is
# that of pydantic-core. From 2**53 on, JavaScript has not every whole number.
_BOUNDS: Final = """\
  function breach(bounds, value) {
    var kind, bound, rest, near, i;
    for (i = 0; bounds && i < bounds.length; i++) {
      kind = bounds[i][0];
      bound = bounds[i][1];
      if (typeof value === "string" && value.length !== bound.length) { continue; }
      if (kind === "multiple") {
        if (Math.abs(value) < 9007199254740992 && value % bound !== 0) { return wrong("has to be " + bounds[i][2]); }
      } else if (kind === "about_multiple") {
        rest = Math.abs(value % bound);
        near = Math.abs(value) / 1e9;
        if (rest > near && Math.abs(rest - bound) > near) { return wrong("has to be " + bounds[i][2]); }
      } else if (!(kind === "ge" ? value >= bound : kind === "gt" ? value > bound :
                   kind === "le" ? value <= bound : value < bound)) {
        return wrong("has to be " + bounds[i][2]);
      }
    }
  }
"""

_SIZE: Final = """\
  function outside(rule, size, things) {
    if (size < (rule.min_length || 0)) { return wrong("has to have " + rule.min_length + " or more " + things); }
    if (rule.max_length !== undefined && size > rule.max_length) {
      return wrong("has to have " + rule.max_length + " or fewer " + things);
    }
  }

  function elements(rule, values, start, end) {
    var found, i;
    for (i = start; rule && i < end && !found; i++) { found = at(i, check(rule, values[i])); }
    return found;
  }
"""

# Day 0 of a month is the last one of the month before. JavaScript counts months from 0, so the number of a month is
# that of the next one.
_CHECKS: Final = {
    "anything": """\
    anything: function () {}""",
    "null": """\
    "null": function (rule, value) {
      if (value !== null) { return wrong("has to be null"); }
    }""",
    "boolean": """\
    "boolean": function (rule, value) {
      if (typeof value !== "boolean") { return wrong("has to be true or false"); }
    }""",
    "number": """\
    number: function (rule, value) {
      if (typeof value !== "number" || (rule.whole && Math.floor(value) !== value)) {
        return wrong(rule.whole ? "has to be a whole number" : "has to be a number");
      }
      return breach(rule.bounds, value);
    }""",
    "text": """\
    text: function (rule, value) {
      var said = rule.said || "has to be a text", pattern = rule.pattern, size, month;
      if (typeof value !== "string") { return wrong(said); }
      // The two halves of a surrogate pair are one character.
      size = value.replace(/[\\ud800-\\udbff][\\udc00-\\udfff]/g, "_").length;
      if (size < (rule.min_length || 0)) { return wrong("has to be " + rule.min_length + " or more characters long"); }
      if (rule.max_length !== undefined && size > rule.max_length) {
        return wrong("has to be " + rule.max_length + " or fewer characters long");
      }
      if (pattern && !(size > pattern.longest) && !(pattern.printable && /[^\\x20-\\x7e]/.test(value)) &&
          !pattern.source.test(value)) {
        return wrong(pattern.said || said);
      }
      if (rule.calendar) {
        month = new Date(0);
        month.setUTCFullYear(+value.substring(0, 4), +value.substring(5, 7), 0);
        if (+value.substring(8, 10) > month.getUTCDate()) { return wrong(said); }
      }
      return breach(rule.bounds, value);
    }""",
    "choice": """\
    choice: function (rule, value) {
      for (var i = 0; i < rule.values.length; i++) {
        if (rule.values[i] === value) { return; }
      }
      return wrong("has to be " + rule.said);
    }""",
    "list": """\
    list: function (rule, value) {
      if (!isList(value)) { return wrong("has to be a list"); }
      return outside(rule, value.length, "elements") || elements(rule.items, value, 0, value.length);
    }""",
    "tuple": """\
    tuple: function (rule, value) {
      var open = rule.items !== undefined, count = rule.before.length + rule.after.length, found, end, i;
      if (!isList(value)) { return wrong("has to be a list"); }
      if (value.length < count || (!open && value.length > count)) {
        return wrong("has to have " + count + (open ? " or more" : "") + " elements");
      }
      end = value.length - rule.after.length;
      for (i = 0; i < rule.before.length && !found; i++) { found = at(i, check(rule.before[i], value[i])); }
      for (i = end; i < value.length && !found; i++) { found = at(i, check(rule.after[i - end], value[i])); }
      return found || outside(rule, value.length, "elements") || elements(rule.items, value, rule.before.length, end);
    }""",
    "map": """\
    map: function (rule, value) {
      var names = [], found, i;
      if (!isObject(value)) { return wrong("has to be an object"); }
      for (i in value) {
        if (has.call(value, i)) { names.push(i); }
      }
      found = outside(rule, names.length, "members");
      for (i = 0; i < names.length && !found; i++) {
        found = rule.keys && check(rule.keys, names[i]);
        if (found) { return at(names[i], wrong("as a name, it " + found.reason)); }
        found = rule.values && at(names[i], check(rule.values, value[names[i]]));
      }
      return found;
    }""",
    "object": """\
    object: function (rule, value) {
      var found, member, others, i, j;
      if (!isObject(value)) { return wrong("has to be an object"); }
      for (i = 0; i < rule.members.length && !found; i++) {
        member = rule.members[i];
        others = member.or || [];
        if (has.call(value, member.name)) {
          found = member.rule && at(member.name, check(member.rule, value[member.name]));
        } else if (member.required) {
          for (j = 0; j < others.length && !has.call(value, others[j]);) { j++; }
          if (j === others.length) { found = at(member.name, wrong("is required")); }
        }
      }
      return found;
    }""",
    "nullable": """\
    nullable: function (rule, value) {
      return value === null ? undefined : check(rule.rule, value);
    }""",
    "union": """\
    union: function (rule, value) {
      for (var i = 0; i < rule.choices.length; i++) {
        if (!check(rule.choices[i], value)) { return; }
      }
      return wrong("fits none of its types");
    }""",
    "tagged": """\
    tagged: function (rule, value) {
      if (!isObject(value)) { return wrong("has to be an object"); }
      if (!has.call(value, rule.by)) { return at(rule.by, wrong("is required")); }
      var tag = value[rule.by];
      if (typeof tag !== "string" || !has.call(rule.choices, tag)) {
        return at(rule.by, wrong("has to be " + rule.said));
      }
      return check(rule.choices[tag], value);
    }""",
    "rule": """\
    rule: function (rule, value) { return check(rules[rule.name], value); }""",
}

# Deletions pass, since CouchDB's own have no members. Design documents and the files of a bucket are no documents of a
# model.
_TAIL: Final = """\
  function check(rule, value) { return checks[rule.is](rule, value); }

  // couchmodel asks with a deletion of this id whether the guard is in force.
  var probe = %(probe)s;
  if (newDoc._id.indexOf(probe) === 0) { throw {forbidden: probe + " is in force"}; }
  if (newDoc._deleted || newDoc._id.indexOf("_design/") === 0) { return; }
  if (newDoc._id.indexOf(%(bucket)s) === 0) { return; }
%(applies)s  var found = check(rules.document, newDoc);
  if (found) { throw {forbidden: (found.path.join(".") || "document") + ": " + found.reason}; }
}
"""


def design_of(declaration: JSONObject) -> JSONObject:
    """Return the members of the design document of a guard."""
    function = write_function(declaration)
    return {
        "language": "javascript",
        "validate_doc_update": function,
        MEMBER: {"guard": declaration, "digest": digest_of(declaration, function)},
    }


def write_function(declaration: JSONObject) -> str:
    """Return the ``validate_doc_update`` of a guard."""
    rules = declaration["rules"]
    used = {kind for rule in rules.values() for kind in _kinds(rule)}
    probe = PROBE_PREFIX + probe_of(declaration)
    parts = [_HEAD % {"model": declaration["model"]}]
    if used & {"number", "text"}:
        parts.append(_BOUNDS)
    if used & {"list", "tuple", "map"}:
        parts.append(_SIZE)
    checks = ",\n".join(text for kind, text in _CHECKS.items() if kind in used)
    parts += [f"  var checks = {{\n{checks}\n  }};\n", f"  var rules = {_write(rules, '  ')};\n"]
    own = {"probe": _text(probe), "bucket": _text(BUCKET_PREFIX), "applies": _applies(declaration)}
    return "\n".join([*parts, _TAIL % own])


def _kinds(rule: Any) -> Iterator[str]:
    """Yield the kinds of a rule and of all rules in it."""
    if isinstance(rule, list):
        for each in rule:
            yield from _kinds(each)
    elif isinstance(rule, dict):
        if isinstance(rule.get("is"), str):
            yield rule["is"]
        for key, value in rule.items():
            # The values of a choice and the operands of bounds are data, in which a member `is` means nothing.
            if key not in ("values", "bounds") or isinstance(value, dict):
                yield from _kinds(value)


def _applies(declaration: JSONObject) -> str:
    text = ""
    if declaration["type_member"] is not None:
        text += f"  if (newDoc[{_text(declaration['type_member'])}] !== {_text(declaration['type'])}) {{ return; }}\n"
    if declaration["version_member"] is not None:
        member, version = _text(declaration["version_member"]), declaration["version"]
        text += f"  if ((has.call(newDoc, {member}) ? newDoc[{member}] : 1) !== {version}) {{ return; }}\n"
    return text


def _write(value: Any, indent: str) -> str:
    """Return a rule as JavaScript, in lines of a bearable length, with its patterns as literals."""
    line = _inline(value)
    # The lines are for people who look at the design document. Nothing else depends on their length.
    if len(line) + len(indent) <= 110 or not isinstance(value, (dict, list)) or not value:
        return line
    inner = indent + "  "
    if isinstance(value, list):
        return "[\n" + ",\n".join(inner + _write(each, inner) for each in value) + f"\n{indent}]"
    members = [f"{inner}{_name(key)}: {_member(key, each, inner)}" for key, each in value.items()]
    return "{\n" + ",\n".join(members) + f"\n{indent}}}"


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_name(key)}: {_member(key, each, None)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return _text(value)


def _member(key: str, value: Any, indent: str | None) -> str:
    if key == "source" and isinstance(value, str):
        return f"/{value}/"
    return _inline(value) if indent is None else _write(value, indent)


_PLAIN_NAME: Final = re.compile(r"[a-z_]+", re.ASCII)
_RESERVED: Final = frozenset({"null", "boolean", "by", "or", "in"})


def _name(key: str) -> str:
    return key if _PLAIN_NAME.fullmatch(key) and key not in _RESERVED else _text(key)


def _text(value: object) -> str:
    """Return a scalar as JavaScript, in ASCII: some characters end a line in JavaScript and none in JSON."""
    return json.dumps(value, ensure_ascii=True)
