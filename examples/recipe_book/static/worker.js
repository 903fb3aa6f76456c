// The service worker: it keeps the page for offline use, and shows it in place of any page when there is no network.

const KEPT = "recipe-book-1";
const PAGE = "/offline";
const PARTS = [
  PAGE,
  "/static/book.css",
  "/static/offline.js",
  "/static/icon.svg",
  "/static/vendor/pouchdb.min.js",
  "/static/vendor/fraunces.woff2",
  "/static/vendor/figtree.woff2",
];

self.addEventListener("install", (event) => {
  event.waitUntil(keep().then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  event.waitUntil(self.clients.claim());
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const { origin, pathname } = new URL(request.url);
  if (origin !== self.location.origin || request.method !== "GET") return;
  if (PARTS.includes(pathname)) event.respondWith(newest(request, pathname));
  else if (request.mode === "navigate") event.respondWith(fetch(request).catch(() => caches.match(PAGE)));
});

async function keep() {
  const cache = await caches.open(KEPT);
  await cache.addAll(PARTS);
}

/** The file as it is on the server, or as it was when it could be reached last. */
async function newest(request, pathname) {
  if (!navigator.onLine) return (await caches.match(pathname)) ?? fetch(request);
  try {
    const answer = await fetch(request);
    if (answer.ok) await (await caches.open(KEPT)).put(pathname, answer.clone());
    return answer;
  } catch {
    return (await caches.match(pathname)) ?? Response.error();
  }
}
