// The script of all pages. Without it, everything works, and takes a press of a button more.

const main = document.querySelector("main");

/** Reads a page, and puts its content in the place of the present one. What has the focus keeps it. */
function show(html, { keepFile = null } = {}) {
  const page = new DOMParser().parseFromString(html, "text/html");
  const { id, value, selectionStart, selectionEnd } = document.activeElement;
  document.title = page.title;
  const fresh = page.querySelector("main");
  for (const { name } of [...main.attributes]) if (name.startsWith("data-")) main.removeAttribute(name);
  for (const { name, value: set } of [...fresh.attributes]) main.setAttribute(name, set);
  main.replaceChildren(...fresh.childNodes);
  document.querySelector("header").replaceWith(page.querySelector("header"));
  if (keepFile?.files.length) restoreFile(keepFile);
  const focused = id ? document.getElementById(id) : null;
  focused?.focus({ preventScroll: true });
  if (focused?.matches('[type="search"]')) {
    focused.value = value;
    focused.setSelectionRange(selectionStart, selectionEnd);
  }
}

// --- Forms: sent by the script, so that a photo that was chosen is not lost if something else does not fit.

/** The statuses of answers that contain the form again. Another one leaves the form as it is. */
const FORMS = [409, 422, 503];

let sending = false;

/** Puts a file that was chosen into the new form. A page cannot do that by HTML. */
function restoreFile(input) {
  const place = main.querySelector('input[type="file"]') ?? main.querySelector("[data-keep]");
  if (!place) return;
  for (const name of ["aria-invalid", "aria-describedby"]) {
    const value = place.getAttribute(name);
    if (value === null) input.removeAttribute(name);
    else input.setAttribute(name, value);
  }
  if (place.matches("input")) place.replaceWith(input);
  else place.append(input);
  preview(input);
}

function preview(input) {
  const frame = main.querySelector("[data-preview]");
  const [file] = input.files;
  if (!frame || !file?.type.startsWith("image/")) return;
  const picture = document.createElement("div");
  picture.className = "picture";
  const image = new Image();
  image.alt = `Preview of ${file.name}`;
  image.src = URL.createObjectURL(file);
  image.addEventListener("load", () => URL.revokeObjectURL(image.src), { once: true });
  picture.append(image);
  frame.replaceChildren(picture);
}

document.addEventListener("submit", async (event) => {
  const { target: form, submitter } = event;
  const question = submitter?.dataset.confirm;
  if (question && !window.confirm(question)) {
    event.preventDefault();
    return;
  }
  if (!form.matches("[data-send]") || submitter?.hasAttribute("formaction")) return;
  event.preventDefault();
  submitter.disabled = true;
  sending = true;
  try {
    const answer = await fetch(form.action, { method: "POST", body: new FormData(form) });
    if (!answer.redirected && !FORMS.includes(answer.status)) throw new Error(`status ${answer.status}`);
    const html = await answer.text();
    if (answer.redirected) window.history.pushState(null, "", answer.url);
    show(html, { keepFile: answer.redirected ? null : form.querySelector('input[type="file"]') });
    window.scrollTo({ top: 0 });
    follow();
    (main.querySelector('[aria-invalid="true"]') ?? main).focus({ preventScroll: true });
  } catch {
    submitter.disabled = false;
    window.alert("The book does not take it now. Your text is still here: try again in a moment.");
  }
  sending = false;
});

document.addEventListener("change", ({ target }) => {
  if (target.matches('input[type="file"]')) preview(target);
});

document.addEventListener("input", ({ target }) => {
  if (target.dataset.picks) document.getElementById(target.dataset.picks).checked = true;
  if (target.form?.matches("[data-search]")) search(target.form);
});

// --- The search looks while one types.

let searching;

function search(form) {
  clearTimeout(searching);
  searching = setTimeout(() => {
    const address = new URL(form.action);
    for (const [name, value] of new FormData(form)) if (value) address.searchParams.set(name, value);
    window.history.replaceState(null, "", address);
    refresh();
  }, 150);
}

// --- Pages keep up with changes of others.

let refreshing;

/** Reads the present page again. Of several calls, the last one counts. */
async function refresh() {
  refreshing?.abort();
  refreshing = new AbortController();
  try {
    const answer = await fetch(window.location.href, { signal: refreshing.signal });
    if (answer.status < 500) show(await answer.text());
  } catch (error) {
    if (error.name !== "AbortError" && navigator.onLine) throw error;
  }
}

function hear({ type, data, lastEventId }) {
  since = lastEventId;
  const { id, rev, changed_by: by } = JSON.parse(data);
  if (sending) return; // it is most likely the change of this page
  const { live, editing, rev: known } = main.dataset;
  if (live === "list" || live === id) refresh();
  if (editing === id && rev !== known) warn(type, by);
}

function warn(type, by) {
  const note = document.createElement("div");
  note.className = "note warn";
  note.setAttribute("role", "status");
  const who = by || "Somebody";
  note.textContent = type === "deleted"
    ? `${who} has deleted this recipe. Your text is still here.`
    : `${who} has saved this recipe meanwhile. When you save, the two versions are merged.`;
  main.querySelector(".note.warn")?.remove();
  main.querySelector("form").before(note);
}

let events;
let since = main.dataset.since;

/** Hears what has changed since the page that is shown now. */
function follow() {
  if (main.dataset.since) ({ since } = main.dataset);
  listen();
}

// A browser has few connections to one server, so pages that nobody sees give theirs back.
function listen() {
  events?.close();
  events = undefined;
  if (document.hidden || !since) return;
  events = new EventSource(`/api/recipes/_changes?since=${encodeURIComponent(since)}`);
  for (const type of ["changed", "deleted"]) events.addEventListener(type, hear);
}

document.addEventListener("visibilitychange", listen);
window.addEventListener("popstate", () => window.location.reload());
window.addEventListener("pagehide", () => events?.close());
listen();
