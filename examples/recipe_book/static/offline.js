// The page that works without a network. Its recipes are in a database of the browser, which PouchDB synchronises.

const main = document.querySelector("main");
const part = (id) => document.getElementById(id);
const local = new PouchDB("recipes", { auto_compaction: true });
const LISTS = ["ingredients", "steps"];
let shown = null; // the recipe in the editor
let sync = null;

// --- The list and the editor

async function list() {
  const { rows } = await local.allDocs({ include_docs: true });
  const recipes = rows.map((row) => row.doc).filter((doc) => !doc._id.startsWith("_"));
  recipes.sort((one, other) => one.title.localeCompare(other.title));
  part("recipes").replaceChildren(...recipes.map(row));
  part("none").hidden = recipes.length > 0;
}

function row(recipe) {
  const item = part("row").content.cloneNode(true).firstElementChild;
  const button = item.querySelector("button");
  button.dataset.id = recipe._id;
  button.setAttribute("aria-current", String(recipe._id === shown?._id));
  item.querySelector(".title").textContent = recipe.title;
  item.querySelector("small").textContent = recipe.tags?.join(", ") ?? "";
  if (recipe._attachments?.thumbnail) showPicture(item.querySelector(".picture"), recipe);
  return item;
}

async function showPicture(frame, recipe) {
  const image = new Image();
  image.alt = "";
  image.src = URL.createObjectURL(await local.getAttachment(recipe._id, "thumbnail"));
  image.addEventListener("load", () => URL.revokeObjectURL(image.src), { once: true });
  frame.classList.remove("none");
  frame.replaceChildren(image);
}

function edit(recipe) {
  shown = recipe;
  part("nothing").hidden = true;
  part("editor").hidden = false;
  part("editor-title").textContent = recipe.title || "A new recipe";
  part("saved").textContent = "";
  for (const field of part("editor").querySelectorAll("[name]")) {
    const value = recipe[field.name] ?? "";
    field.value = LISTS.includes(field.name) ? [...value].join("\n") : value;
  }
  for (const button of part("recipes").querySelectorAll("button")) {
    button.setAttribute("aria-current", String(button.dataset.id === recipe._id));
  }
}

/** The present time as the model stores it: with six digits, so that texts sort as times do. */
const now = () => new Date().toISOString().replace("Z", "000Z");

async function save() {
  const changed = { created_at: now(), servings: 4, ...shown };
  for (const field of part("editor").querySelectorAll("[name]")) {
    const text = field.value.trim();
    changed[field.name] = LISTS.includes(field.name) ? text.split("\n").map((line) => line.trim()).filter(Boolean) : text;
  }
  const title = part("title");
  title.setAttribute("aria-invalid", String(!changed.title));
  if (!changed.title) {
    part("saved").textContent = "A recipe needs a title.";
    title.focus();
    return;
  }
  changed._id ??= crypto.randomUUID().replaceAll("-", "");
  changed.updated_at = now();
  changed.changed_by = localStorage.getItem("recipe-book-user") ?? "";
  const { rev } = await local.put(changed);
  edit({ ...changed, _rev: rev });
  part("saved").textContent = "Saved on this device.";
  if (sync === null) tell("offline", "Offline: your changes wait here");
  await list();
}

part("recipes").addEventListener("click", async ({ target }) => {
  const button = target.closest("button");
  if (!button) return;
  edit(await local.get(button.dataset.id));
  part("title").focus();
});
part("new").addEventListener("click", () => {
  edit({});
  part("title").focus();
});
part("editor").addEventListener("submit", (event) => {
  event.preventDefault();
  save();
});

// --- Synchronisation

function tell(state, text) {
  part("state").dataset.state = state;
  part("state").textContent = text;
}

function complain(text, { signIn = false } = {}) {
  const box = part("trouble");
  box.hidden = !text;
  box.querySelector("span").textContent = text;
  box.querySelector("a").hidden = !signIn;
}

const server = () => {
  const { protocol, hostname } = window.location;
  return `${protocol}//${hostname}:${main.dataset.syncPort}`;
};

async function connect() {
  if (sync !== null || !main.dataset.syncPort || !navigator.onLine) return;
  tell("busy", "Synchronising");
  complain("");
  try {
    const answer = await fetch(`${server()}/_session`, { credentials: "include" });
    const { userCtx } = await answer.json();
    if (userCtx.name) start(userCtx.name);
    else refuse({ status: 401 });
  } catch (error) {
    refuse(error);
  }
}

function start(user) {
  localStorage.setItem("recipe-book-user", user);
  const remote = new PouchDB(`${server()}/recipes`, { skip_setup: true });
  // The positions of both directions are kept in the browser, which spares the server a document for each device.
  const directions = { push: { checkpoint: "source" }, pull: { checkpoint: "target" } };
  sync = local
    .sync(remote, { live: true, retry: true, ...directions })
    .on("active", () => tell("busy", "Synchronising"))
    .on("paused", (error) => (error ? tell("offline", "Offline") : tell("synced", "Everything is in the book")))
    .on("change", list)
    .on("denied", ({ doc }) => complain(`The book does not take a change: ${doc.reason ?? doc.message}`))
    .on("error", refuse);
}

function refuse(error) {
  disconnect();
  if (error.status === 401 || error.status === 403) {
    tell("refused", "Signed out");
    complain("Sign in, so that this device may synchronise.", { signIn: true });
  } else {
    tell("offline", "Not synchronised");
    complain("The book cannot be reached. This page tries again when the network comes back.");
  }
}

function disconnect() {
  sync?.cancel();
  sync = null;
}

window.addEventListener("online", connect);
window.addEventListener("offline", () => {
  disconnect();
  tell("offline", "Offline");
});

await navigator.serviceWorker?.register("/worker.js");
await list();
await connect();
if (part("state").dataset.state === "starting") tell("offline", navigator.onLine ? "On this device only" : "Offline");
