// What surrounds the functions of a design document: CouchDB's query server, as far as a function can see it.
//
// The text is evaluated once in a new context and gives the function by which Python asks. Nothing but the names that
// are put into `globalThis` below can be reached from the functions. They may break the built-in objects, for they have
// a context of their own, so everything needed here is taken hold of first.

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
  const toText = Object.prototype.toString;
  const evaluate = globalThis.eval; // called by this name it evaluates in the global scope
  const Text = String;
  const Compiled = Function;
  const Message = TypeError;

  // --- what CouchDB's engine does not have

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

  // CouchDB makes them in another realm than the functions': to `instanceof` their arrays and objects are strangers.
  function stranger(native, name) {
    const prototype = create(null, getOwnPropertyDescriptors(native.prototype));
    const constructor = { [name]: function (...values) { return new native(...values); } }[name];
    defineProperty(constructor, "prototype", { value: prototype });
    defineProperty(prototype, "constructor", { value: constructor, configurable: true, writable: true });
    return prototype;
  }

  const plain = stranger(Object, "Object");
  const list = setPrototypeOf(stranger(Array, "Array"), plain);

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

  function estrange(value) {
    const isList = isArray(value);
    setPrototypeOf(value, isList ? list : plain);
    const items = isList ? value : valuesOf(value);
    for (let i = 0; i < items.length; i++) {
      const item = items[i];
      if (typeof item === "object" && item !== null) estrange(item);
    }
  }

  function received(text) {
    const value = parse(text);
    estrange(value);
    return value;
  }

  // --- values on their way out

  // A half of a surrogate pair is always escaped by stringify, and nothing else begins with these letters.
  const halves = /\\(?:\\|u[dD][89a-fA-F][0-9a-fA-F]{2})/g;

  function json(value) {
    const text = stringify(value);
    if (text === undefined) return "null";
    if (!apply(includes, text, ["\\ud"])) return text;
    return apply(replace, text, [halves, (escape) => (escape === "\\\\" ? escape : "\\ufffd")]);
  }

  // An array that is what is put into it, whatever a function has made of the arrays and their `toJSON`.
  function bare(...items) {
    return setPrototypeOf(items, null);
  }

  // An error has no members that stringify would see.
  function shown(value) {
    if (typeof value === "object" && value !== null && "stack" in value && "name" in value && "message" in value) {
      return { error: value.name, message: value.message };
    }
    return value;
  }

  // --- errors: {code, reason} in an object of a class that no function can make

  class Failure {
    constructor(code, reason, status) {
      this.code = code;
      this.reason = reason;
      this.status = status;
    }
  }

  function failed(error) {
    if (error instanceof Failure) return told(error.code, error.reason, error.status);
    if (isExhausted(error)) return told("os_process_error", error === null ? "out of memory" : Text(error.message));
    if (error === null || error === undefined) return told("TypeError", "{[]}");
    if (error[0] === "fatal" || error[0] === "error") return told(described(error[1]), described(error[2]));
    if (error.error && error.reason) return told(described(error.error), described(error.reason));
    if (error.name) return told(described(error.name), "{[]}");
    return told("unnamed_error", "null");
  }

  // Without a prototype, for a function may have given all objects a `toJSON`.
  function told(code, reason, status) {
    return stringify({ __proto__: null, code, reason, status });
  }

  // Out of memory or of stack: no function may go on after that. Where there is no memory for an error that says so, the
  // engine throws null, as hardly any function does; one that might can be told by its text.
  const throwsNull = /\bthrow\b[\s(]*null\b/;
  let nullIsThrown = false;

  function isExhausted(error) {
    if (error === null) return !nullIsThrown;
    if (typeof error !== "object") return false;
    return error.name === "InternalError" || error.message === "Maximum call stack size exceeded";
  }

  function described(value) {
    return typeof value === "string" ? value : json(value);
  }

  // Whether an error is one that ends more than the call that threw it; where it is, it is thrown on.
  function refuseFatal(error) {
    if (isExhausted(error)) throw error;
    if (error == "fatal_error") throw new Failure("map_runtime_error", "function raised 'fatal_error'");
    if (error[0] === "fatal") throw error;
  }

  // --- the log

  const LINES = 100;
  const LINE = 1000;
  let lines = bare();

  function log(message) {
    if (lines.length >= LINES) return;
    const text = typeof message === "string" ? message : json(shown(message));
    lines[lines.length] = apply(substring, text, [0, LINE]);
  }

  // --- modules

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
        cache[module.id] = {}; // for modules that require each other
        try {
          nullIsThrown = nullIsThrown || apply(test, throwsNull, [module.current]);
          const body = evaluate(`(function (module, exports, require) { ${module.current}\n });`);
          apply(body, globalThis, [module, module.exports, (other) => load(other, module)]);
        } catch (error) {
          if (isExhausted(error)) throw error;
          throw ["error", "compilation_error", `Module require('${name}') raised error ${Text(error)}`];
        }
        cache[module.id] = module.exports;
      }
      return cache[module.id];
    }
    return (name) => load(name);
  }

  // --- compiling

  // CouchDB takes a nameless function for an expression where a statement may begin, which JavaScript does not. Such
  // places are those up to which the text is a program of its own.
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
      new Compiled(text);
      return true;
    } catch (error) {
      if (isExhausted(error)) throw error;
      return false;
    }
  }

  let evaluated = ""; // the text whose lines and columns an error names

  function value(source) {
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

  // The words of CouchDB's engine for a bracket that is closed too late; where another is missing, they are this one's.
  function wording(error) {
    const text = Text(error);
    const place = /:(\d+):(\d+)/.exec(error && error.stack);
    if (!place || !apply(startsWith, text, ["SyntaxError: Unexpected "])) return text;
    const before = apply(split, evaluated, ["\n"]).slice(0, +place[1]);
    before[before.length - 1] = apply(substring, before[before.length - 1], [0, place[2] - 1]);
    const expected = { "(": ",", "[": "]" }[innermost(apply(join, before, ["\n"]))];
    return expected ? `SyntaxError: expecting '${expected}'` : text;
  }

  // The bracket that is open at the end of a text.
  function innermost(text) {
    let brackets = "";
    for (const [token] of apply(matchAll, text, [/"[^"\n]*"|'[^'\n]*'|\/\/.*|[([{}\])]/g])) {
      if (token === "(" || token === "[" || token === "{") brackets += token;
      else if (token === ")" || token === "]" || token === "}") brackets = apply(substring, brackets, [0, brackets.length - 1]);
    }
    return brackets[brackets.length - 1];
  }

  function compiled(source) {
    if (!source) throw new Failure("not_found", "missing function", 404);
    let found;
    try {
      found = value(source);
    } catch (error) {
      if (isExhausted(error)) throw error;
      throw new Failure("compilation_error", `${wording(error)} (${source})`, 400);
    }
    if (typeof found !== "function" || apply(includes, apply(toText, found, []), ["Async"])) {
      const reason = `Expression does not eval to a function. (${source})`;
      throw new Failure("compilation_error", reason, 400);
    }
    return found;
  }

  // --- map

  let emitted = bare(); // keys
  let values = bare(); // their values, both of the function that is running
  let passes = false; // whether it has emitted anything

  let mapper = null;
  const nobody = freeze(setPrototypeOf([], list)); // what `this` is

  function emit(key, value) {
    passes = true;
    emitted[emitted.length] = key;
    values[values.length] = value;
  }

  function failure(error, document) {
    refuseFatal(error);
    log(`function raised exception ${Text(error)} with doc._id ${document._id}`);
  }

  // A line of the keys, by document, and a line for each value, in the same order.
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
      apply(map, nobody, [document]);
    } catch (error) {
      failure(error, document);
      return bare();
    }
    for (let i = 0; i < values.length; i++) {
      const value = values[i];
      written[written.length] = value === null || value === undefined ? "null" : json(shown(value));
    }
    return emitted;
  }

  // --- reduce

  const REDUCED = 4096; // what a reduction may measure however little it was made of

  function reduce(reducer, text, size) {
    const line = received(text);
    let reduction = null;
    try {
      reduction = apply(reducer, nobody, line.length === 1 ? [null, line[0], true] : [line[0], line[1], false]);
    } catch (error) {
      refuseFatal(error);
      log(`function raised exception ${Text(error)}`);
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
  const called = create(null);

  function callable(path) {
    const id = stringify(path);
    if (!(id in called)) {
      let source = design;
      for (let i = 0; i < path.length; i++) source = source === undefined || source === null ? source : source[path[i]];
      if (!source) throw new Failure("not_found", `missing ${path[0]} function ${path[path.length - 1]}`, 404);
      called[id] = compiled(source);
    }
    return called[id];
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

  // A line for each pair of a document and the one before it; `author` is the text of the other arguments.
  function validate(path, pairs, author) {
    const run = callable(path);
    const outcomes = bare();
    for (let i = 0; i < pairs.length; i++) {
      const [newDocument, oldDocument] = pairs[i];
      try {
        apply(run, design, [newDocument, oldDocument, ...received(author)]);
        outcomes[i] = "{}";
      } catch (error) {
        if (isExhausted(error)) throw error;
        outcomes[i] = refusal(error);
      }
    }
    return apply(join, outcomes, ["\n"]);
  }

  function refusal(error) {
    if (error === null || error === undefined || (error.name && error.stack)) return failed(error);
    // What has no JSON is thrown all the same, so it must not look like a function that threw nothing.
    return stringify(error) === undefined ? told("parse_error", "bad_token") : `{"thrown":${json(error)}}`;
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
      throw rendering(error);
    }
  }

  // An error of a function that makes an answer, as CouchDB tells it.
  function rendering(error) {
    if (error === null || error === undefined) return error;
    if ((error.error && error.reason) || error[0] === "error" || error[0] === "fatal" || isExhausted(error)) return error;
    const reason = `function raised error: ${Text(error)} \nstacktrace: ${error.stack}`;
    log(reason);
    return ["error", "render_error", reason];
  }

  const responders = { filter, filterView, update, validate };

  // --- what the functions see

  function visible(name, value) {
    defineProperty(globalThis, name, { value, configurable: true, enumerable: true, writable: true });
  }

  function unavailable(name) {
    return { [name]: function () { throw new Message(`${name} has nothing to do in this function`); } }[name];
  }

  visible("emit", emit);
  visible("sum", function sum(values) {
    let total = 0;
    for (const i in values) total += values[i];
    return total;
  });
  visible("log", log);
  visible("toJSON", stringify);
  visible("isArray", function isArray(value) { return apply(toText, value, []) === "[object Array]"; });
  visible("index", function index() {});
  for (const name of ["provides", "registerType", "start", "send", "getRow"]) visible(name, unavailable(name));
  freeze(JSON);

  // --- what Python asks

  const commands = {
    // Compile a map function; `lib` is what it may require.
    addMap: (source) => { mapper = compiled(source); return "null"; },
    check: (source) => { compiled(source); return "null"; },
    lib: (text) => { visible("require", requirer({ views: { lib: received(text) } })); return "null"; },
    map,
    nothing: () => "null",
    reduce: (source, text, size) => reduce(reducers[source] || (reducers[source] = compiled(source)), text, +size),
    design: (text) => { design = received(text); visible("require", requirer(design)); return "null"; },
    call: (name, text) => { const [path, ...values] = received(text); return responders[name](path, ...values); },
  };
  const reducers = create(null);

  return function (command, a, b, c) {
    lines = bare();
    let outcome;
    try {
      outcome = commands[command](a, b, c);
    } catch (error) {
      outcome = `!${failed(error)}`;
    }
    // Joined and not added, for Python cannot read a string that is still in pieces.
    return apply(join, bare(lines.length === 0 ? "" : json(lines), outcome), ["\n"]);
  };
})()
