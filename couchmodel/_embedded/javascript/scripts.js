// The environment of a design document's functions: CouchDB's query server, as far as a function can see it.
//
// This script is evaluated once in each new context. Its value is the function that Python calls with commands. The
// functions of design documents can reach only the names that are put into `globalThis` below. They may replace
// built-in objects and methods, so this script saves references to all that it needs before any of them runs.

(function () {
  "use strict";

  const { parse, stringify } = JSON;
  const { apply, deleteProperty } = Reflect;
  const { create, defineProperty, freeze, getOwnPropertyDescriptors, keys, setPrototypeOf } = Object;
  const valuesOf = Object.values;
  const { isArray } = Array;
  const { join } = Array.prototype;
  const { test } = RegExp.prototype;
  const { includes, matchAll, replace, split, startsWith, substring } = String.prototype;
  const objectToString = Object.prototype.toString;
  const evaluate = globalThis.eval; // an indirect call evaluates in the global scope
  const toText = String;
  const SavedFunction = Function;
  const SavedTypeError = TypeError;

  // --- names that CouchDB's engine does not have

  const absent = {
    "": [
      "ArrayBuffer", "AsyncDisposableStack", "Atomics", "BigInt64Array", "BigUint64Array", "DOMException", "DataView",
      "DisposableStack", "FinalizationRegistry", "Float16Array", "Float32Array", "Float64Array", "Int16Array",
      "Int32Array", "Int8Array", "Iterator", "Promise", "Proxy", "SharedArrayBuffer", "SuppressedError", "Uint16Array",
      "Uint32Array", "Uint8Array", "Uint8ClampedArray", "WeakRef", "atob", "btoa", "performance", "queueMicrotask",
    ],
    "Array": ["fromAsync"],
    "Error": ["captureStackTrace", "isError", "prepareStackTrace", "stackTraceLimit"],
    "JSON": ["isRawJSON", "rawJSON"],
    "Map.prototype": ["getOrInsert", "getOrInsertComputed"],
    "Math": ["f16round", "sumPrecise"],
    "RegExp": ["escape"],
    "RegExp.prototype": ["unicodeSets"],
    "Set.prototype": [
      "difference", "intersection", "isDisjointFrom", "isSubsetOf", "isSupersetOf", "symmetricDifference", "union",
    ],
    "String.prototype": ["localeCompare", "normalize"],
    "Symbol": ["asyncDispose", "dispose"],
    "WeakMap.prototype": ["getOrInsert", "getOrInsertComputed"],
  };

  for (const path of keys(absent)) {
    let owner = globalThis;
    for (const name of path ? path.split(".") : []) owner = owner[name];
    for (const name of absent[path]) deleteProperty(owner, name);
  }

  // --- values from outside

  // CouchDB creates arguments in another realm than the functions. So `instanceof Array` and `instanceof Object` are
  // false for them, and the same has to be true here.
  function foreignPrototype(native, name) {
    const prototype = create(null, getOwnPropertyDescriptors(native.prototype));
    const constructor = { [name]: function (...values) { return new native(...values); } }[name];
    defineProperty(constructor, "prototype", { value: prototype });
    defineProperty(prototype, "constructor", { value: constructor, configurable: true, writable: true });
    return prototype;
  }

  const plain = foreignPrototype(Object, "Object");
  const list = setPrototypeOf(foreignPrototype(Array, "Array"), plain);

  // Give a value and all inside of it the other realm's prototypes, and freeze them, as CouchDB does with the
  // documents of map functions.
  function seal(value) {
    const isList = isArray(value);
    setPrototypeOf(value, isList ? list : plain);
    const items = isList ? value : valuesOf(value);
    for (let i = 0; i < items.length; i++) {
      const item = items[i];
      if (typeof item === "object" && item !== null) seal(item);
    }
    freeze(value);
  }

  // The same without freezing.
  function makeForeign(value) {
    const isList = isArray(value);
    setPrototypeOf(value, isList ? list : plain);
    const items = isList ? value : valuesOf(value);
    for (let i = 0; i < items.length; i++) {
      const item = items[i];
      if (typeof item === "object" && item !== null) makeForeign(item);
    }
  }

  function parseForeign(text) {
    const value = parse(text);
    makeForeign(value);
    return value;
  }

  // --- values on their way out

  // `stringify` escapes a lone half of a surrogate pair, and nothing else that begins with `\ud`. CouchDB replaces it
  // by U+FFFD.
  const halves = /\\(?:\\|u[dD][89a-fA-F][0-9a-fA-F]{2})/g;

  function json(value) {
    const text = stringify(value);
    if (text === undefined) return "null";
    if (!apply(includes, text, ["\\ud"])) return text;
    return apply(replace, text, [halves, (escape) => (escape === "\\\\" ? escape : "\\ufffd")]);
  }

  // An array without a prototype: a function may have replaced methods of arrays, or given them a `toJSON`.
  function bare(...items) {
    return setPrototypeOf(items, null);
  }

  // The members of an error are not enumerable, so `stringify` would write it as `{}`.
  function withErrorMembers(value) {
    if (typeof value === "object" && value !== null && "stack" in value && "name" in value && "message" in value) {
      return { error: value.name, message: value.message };
    }
    return value;
  }

  // --- errors: {code, reason}, as JSON. No function of a design document can create a `Failure`.

  class Failure {
    constructor(code, reason, status) {
      this.code = code;
      this.reason = reason;
      this.status = status;
    }
  }

  function describeError(error) {
    if (error instanceof Failure) return errorJSON(error.code, error.reason, error.status);
    if (isExhausted(error)) {
      return errorJSON("os_process_error", error === null ? "out of memory" : toText(error.message));
    }
    if (error === null || error === undefined) return errorJSON("TypeError", "{[]}");
    if (error[0] === "fatal" || error[0] === "error") return errorJSON(asText(error[1]), asText(error[2]));
    if (error.error && error.reason) return errorJSON(asText(error.error), asText(error.reason));
    if (error.name) return errorJSON(asText(error.name), "{[]}");
    return errorJSON("unnamed_error", "null");
  }

  // The object has no prototype, since a function may have given all objects a `toJSON`.
  function errorJSON(code, reason, status) {
    return stringify({ __proto__: null, code, reason, status });
  }

  // After an error for lack of memory or stack no function may go on. If there is not even memory for the error, the
  // engine throws null. Hardly any function throws null by itself, and the text of one that does gives it away.
  const throwsNull = /\bthrow\b[\s(]*null\b/;
  let nullIsThrown = false;

  function isExhausted(error) {
    if (error === null) return !nullIsThrown;
    if (typeof error !== "object") return false;
    return error.name === "InternalError" || error.message === "Maximum call stack size exceeded";
  }

  function asText(value) {
    return typeof value === "string" ? value : json(value);
  }

  // Throw an error again if it has to end more than the call that threw it.
  function refuseFatal(error) {
    if (isExhausted(error)) throw error;
    if (error == "fatal_error") throw new Failure("map_runtime_error", "function raised 'fatal_error'");
    if (error[0] === "fatal") throw error;
  }

  // --- the log

  const LINES = 100; // lines of the log that a command may write
  const LINE = 1000; // characters of a line
  let lines = bare();

  function log(message) {
    if (lines.length >= LINES) return;
    const text = typeof message === "string" ? message : json(withErrorMembers(message));
    lines[lines.length] = apply(substring, text, [0, LINE]);
  }

  // --- modules

  // Find a module by the parts of its path, as CommonJS does: from the design document's root, or from another module
  // if the path begins with `.` or `..`.
  function resolve(names, module, root) {
    let here = module;
    let first = root;
    for (let i = 0; i < names.length; i++) {
      const name = names[i];
      if (name === "..") {
        if (!(here && here.parent && here.parent.parent)) throw noParent(here && here.current);
        const id = here.id.substring(0, here.id.lastIndexOf("/"));
        here = { id, parent: here.parent.parent, current: here.parent.current };
        first = undefined;
        continue;
      }
      if (name === ".") {
        if (!(here && here.parent)) throw noParent(here && here.current);
        first = undefined;
        continue;
      }
      if (first) here = { current: first };
      first = undefined;
      if (here.current[name] === undefined) {
        throw ["error", "invalid_require_path", `Object has no property "${name}". ${stringify(here.current)}`];
      }
      here = { current: here.current[name], parent: here, id: here.id ? `${here.id}/${name}` : name };
    }
    if (typeof here.current !== "string") {
      const reason = `Must require a JavaScript string, not: ${typeof here.current}`;
      throw ["error", "invalid_require_path", reason];
    }
    return { current: here.current, parent: here.parent, id: here.id, exports: {} };
  }

  function noParent(current) {
    return ["error", "invalid_require_path", `Object has no parent ${stringify(current)}`];
  }

  function requirer(root) {
    const cache = create(null);
    function load(name, from) {
      const module = resolve(apply(split, name, ["/"]), from && from.parent, root);
      if (!(module.id in cache)) {
        cache[module.id] = {}; // a module that requires this one meanwhile gets an empty object
        try {
          nullIsThrown = nullIsThrown || apply(test, throwsNull, [module.current]);
          const body = evaluate(`(function (module, exports, require) { ${module.current}\n });`);
          apply(body, globalThis, [module, module.exports, (other) => load(other, module)]);
        } catch (error) {
          if (isExhausted(error)) throw error;
          throw ["error", "compilation_error", `Module require('${name}') raised error ${toText(error)}`];
        }
        cache[module.id] = module.exports;
      }
      return cache[module.id];
    }
    return (name) => load(name);
  }

  // --- compiling

  // CouchDB's engine accepts a nameless function as an expression at the beginning of a statement. The language does
  // not. So put `0,` before each nameless function that begins a statement: the text before it is a program by itself.
  function asExpressions(source) {
    const nameless = /\bfunction\s*\(/g;
    const async = /\basync\s*$/;
    let text = "";
    let last = 0;
    for (let found = nameless.exec(source); found; found = nameless.exec(source)) {
      const before = text + source.substring(last, found.index);
      if (async.test(before) || !isProgram(before)) continue;
      text = `${before}0,`;
      last = found.index;
    }
    return text + source.substring(last);
  }

  function isProgram(text) {
    try {
      new SavedFunction(text);
      return true;
    } catch (error) {
      if (isExhausted(error)) throw error;
      return false;
    }
  }

  let evaluated = ""; // the text whose lines and columns an error names

  function evaluateSource(source) {
    evaluated = source;
    nullIsThrown = nullIsThrown || apply(test, throwsNull, [source]);
    try {
      return evaluate(source);
    } catch (error) {
      if (!error || error.message !== "function name expected") throw error;
      const rewritten = asExpressions(source);
      if (rewritten === source) throw error;
      evaluated = rewritten;
      return evaluate(rewritten);
    }
  }

  // Return the message for a syntax error. For an unclosed `(` or `[` it is the message of CouchDB's engine, and for
  // other errors the message of this engine.
  function syntaxErrorMessage(error) {
    const text = toText(error);
    const place = /:(\d+):(\d+)/.exec(error && error.stack);
    if (!place || !apply(startsWith, text, ["SyntaxError: Unexpected "])) return text;
    const before = apply(split, evaluated, ["\n"]).slice(0, +place[1]);
    before[before.length - 1] = apply(substring, before[before.length - 1], [0, place[2] - 1]);
    const expected = { "(": ",", "[": "]" }[innermostBracket(apply(join, before, ["\n"]))];
    return expected ? `SyntaxError: expecting '${expected}'` : text;
  }

  // Return the innermost bracket that is open at the end of a text.
  function innermostBracket(text) {
    let brackets = "";
    for (const [token] of apply(matchAll, text, [/"[^"\n]*"|'[^'\n]*'|\/\/.*|[([{}\])]/g])) {
      if (token === "(" || token === "[" || token === "{") brackets += token;
      else if (token === ")" || token === "]" || token === "}") brackets = apply(substring, brackets, [0, brackets.length - 1]);
    }
    return brackets[brackets.length - 1];
  }

  function compile(source) {
    if (!source) throw new Failure("not_found", "missing function", 404);
    let found;
    try {
      found = evaluateSource(source);
    } catch (error) {
      if (isExhausted(error)) throw error;
      throw new Failure("compilation_error", `${syntaxErrorMessage(error)} (${source})`, 400);
    }
    if (typeof found !== "function" || apply(includes, apply(objectToString, found, []), ["Async"])) {
      const reason = `Expression does not eval to a function. (${source})`;
      throw new Failure("compilation_error", reason, 400);
    }
    return found;
  }

  // --- map

  // What the running function has emitted.
  let emitted = bare(); // the keys
  let values = bare(); // the values
  let passes = false; // true after the first `emit`

  let mapper = null;
  const emptyThis = freeze(setPrototypeOf([], list)); // `this` in a map or reduce function

  function emit(key, value) {
    passes = true;
    emitted[emitted.length] = key;
    values[values.length] = value;
  }

  function logMapError(error, document) {
    refuseFatal(error);
    log(`function raised exception ${toText(error)} with doc._id ${document._id}`);
  }

  // Return a line with the keys of each document, and then a line for each value in the same order.
  function map(text) {
    const documents = parse(text);
    const byDocument = bare();
    const written = bare("");
    for (let d = 0; d < documents.length; d++) {
      const document = documents[d];
      seal(document);
      byDocument[d] = json(rows(mapper, document, written));
    }
    written[0] = `[${apply(join, byDocument, [","])}]`;
    return apply(join, written, ["\n"]);
  }

  function rows(map, document, written) {
    emitted = bare();
    values = bare();
    try {
      apply(map, emptyThis, [document]);
    } catch (error) {
      logMapError(error, document);
      return bare();
    }
    for (let i = 0; i < values.length; i++) {
      const value = values[i];
      written[written.length] = value === null || value === undefined ? "null" : json(withErrorMembers(value));
    }
    return emitted;
  }

  // --- reduce

  const REDUCED = 4096; // characters that a reduction may have even if its input is small

  function reduce(reducer, text, size) {
    const line = parseForeign(text);
    let reduction = null;
    try {
      reduction = apply(reducer, emptyThis, line.length === 1 ? [null, line[0], true] : [line[0], line[1], false]);
    } catch (error) {
      refuseFatal(error);
      log(`function raised exception ${toText(error)}`);
    }
    const reduced = json(reduction);
    const length = reduced.length + 2;
    if (length > REDUCED && length * 2 > size) {
      const reason = `Reduce output must shrink more rapidly: input size: ${size} output size: ${length}`;
      throw new Failure("reduce_overflow_error", reason);
    }
    return reduced;
  }

  // --- the functions of a whole design document

  let design = null;
  const compiledByPath = create(null);

  function callable(path) {
    const id = stringify(path);
    if (!(id in compiledByPath)) {
      let source = design;
      for (let i = 0; i < path.length; i++) source = source === undefined || source === null ? source : source[path[i]];
      if (!source) throw new Failure("not_found", `missing ${path[0]} function ${path[path.length - 1]}`, 404);
      compiledByPath[id] = compile(source);
    }
    return compiledByPath[id];
  }

  function filter(path, documents, request) {
    const run = callable(path);
    const passing = bare();
    for (let i = 0; i < documents.length; i++) passing[i] = !!apply(run, design, [documents[i], request]);
    return json(passing);
  }

  function filterView(path, documents) {
    const run = callable(path);
    const passing = bare();
    for (let i = 0; i < documents.length; i++) {
      passes = false;
      emitted = values = bare();
      run(documents[i]);
      passing[i] = passes;
    }
    return json(passing);
  }

  // Return a line for each pair of a new document and the old one. `author` holds the other arguments as JSON: the user
  // context and the security object.
  function validate(path, pairs, author) {
    const run = callable(path);
    const outcomes = bare();
    for (let i = 0; i < pairs.length; i++) {
      const [newDocument, oldDocument] = pairs[i];
      try {
        apply(run, design, [newDocument, oldDocument, ...parseForeign(author)]);
        outcomes[i] = "{}";
      } catch (error) {
        if (isExhausted(error)) throw error;
        outcomes[i] = validationOutcome(error);
      }
    }
    return apply(join, outcomes, ["\n"]);
  }

  function validationOutcome(error) {
    if (error === null || error === undefined || (error.name && error.stack)) return describeError(error);
    // A value without JSON, such as a function, is an error, too. It must not look like the outcome of no error.
    return stringify(error) === undefined ? errorJSON("parse_error", "bad_token") : `{"thrown":${json(error)}}`;
  }

  function update(path, document, request) {
    const run = callable(path);
    try {
      if (request.method === "GET") throw ["error", "method_not_allowed", "Update functions do not allow GET"];
      const result = apply(run, design, [document, request]);
      const answer = result[1];
      if (typeof answer !== "string" && (typeof answer !== "object" || answer === null || answer instanceof Array)) {
        throw ["error", "render_error", "undefined response from update function"];
      }
      return json(bare(result[0], typeof answer === "string" ? { body: answer } : answer));
    } catch (error) {
      throw updateError(error);
    }
  }

  // Return the error that CouchDB reports for an error of an update function.
  function updateError(error) {
    if (error === null || error === undefined) return error;
    if ((error.error && error.reason) || error[0] === "error" || error[0] === "fatal" || isExhausted(error)) return error;
    const reason = `function raised error: ${toText(error)} \nstacktrace: ${error.stack}`;
    log(reason);
    return ["error", "render_error", reason];
  }

  const responders = { filter, filterView, update, validate };

  // --- global names of the functions

  function defineGlobal(name, value) {
    defineProperty(globalThis, name, { value, configurable: true, enumerable: true, writable: true });
  }

  function unavailable(name) {
    return { [name]: function () { throw new SavedTypeError(`${name} has nothing to do in this function`); } }[name];
  }

  defineGlobal("emit", emit);
  defineGlobal("sum", function sum(values) {
    let total = 0;
    for (const i in values) total += values[i];
    return total;
  });
  defineGlobal("log", log);
  defineGlobal("toJSON", stringify);
  defineGlobal("isArray", function isArray(value) { return apply(objectToString, value, []) === "[object Array]"; });
  defineGlobal("index", function index() {});
  for (const name of ["provides", "registerType", "start", "send", "getRow"]) defineGlobal(name, unavailable(name));
  freeze(JSON);

  // --- commands of Python

  const commands = {
    // Set the context's map function. The command `lib` comes before it, with the modules that it may require.
    addMap: (source) => { mapper = compile(source); return "null"; },
    check: (source) => { compile(source); return "null"; },
    lib: (text) => { defineGlobal("require", requirer({ views: { lib: parseForeign(text) } })); return "null"; },
    map,
    nothing: () => "null",
    reduce: (source, text, size) => reduce(reducers[source] || (reducers[source] = compile(source)), text, +size),
    design: (text) => { design = parseForeign(text); defineGlobal("require", requirer(design)); return "null"; },
    call: (name, text) => { const [path, ...values] = parseForeign(text); return responders[name](path, ...values); },
  };
  const reducers = create(null);

  return function (command, a, b, c) {
    lines = bare();
    let outcome;
    try {
      outcome = commands[command](a, b, c);
    } catch (error) {
      outcome = `!${describeError(error)}`;
    }
    // Joined and not added: the engine's binding for Python cannot read a string that is a rope of unjoined pieces.
    return apply(join, bare(lines.length === 0 ? "" : json(lines), outcome), ["\n"]);
  };
})()
