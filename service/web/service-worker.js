// Caches the page, so that it opens offline. The page itself caches runtime and painters (kept.js) and stores pictures (store.js).
const PAGE = [];
const CACHE = "page";
const addresses = PAGE.map((path) => new URL(path, self.registration.scope).href);
const web = new URL("web/", self.registration.scope).href;
const ISOLATED = { "Cross-Origin-Embedder-Policy": "require-corp", "Cross-Origin-Opener-Policy": "same-origin" };

self.addEventListener("install", (event) => event.waitUntil(keep()));
self.addEventListener("activate", (event) => event.waitUntil(forgetOld().then(() => self.clients.claim()))); // runs when no page of an earlier release is open

async function keep() {
  const cache = await caches.open(CACHE);
  const missing = await Promise.all(addresses.map(async (address, index) => (index === 0 || !(await cache.match(address)) ? address : null)));
  await cache.addAll(missing.filter(Boolean));
}

/** Removes the files of earlier releases, but keeps samples. */
async function forgetOld() {
  const cache = await caches.open(CACHE);
  for (const { url } of await cache.keys()) if (url.startsWith(web) && !addresses.includes(url)) await cache.delete(url);
}

self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET") return;
  if (request.url === addresses[0]) event.respondWith(page(request));
  else if ((request.url.startsWith(web) && !/\.wasm(\.gz)?$/.test(request.url)) || /\/models\/[^/]+\/\d+\/sample[^/]*$/.test(request.url)) event.respondWith(file(request));
});

/** Network first, so that a new release is seen at once. */
async function page(request) {
  const cache = await caches.open(CACHE);
  const response = await fetch(request).catch(() => null);
  if (response?.ok) await cache.put(request.url, response.clone());
  return isolated(response?.ok ? response : ((await cache.match(request.url)) ?? response ?? Response.error()));
}

/** Adds the headers without which the page and its workers may not use threads. */
function isolated(response) {
  if (!response.ok) return response;
  const headers = new Headers(response.headers);
  for (const [name, value] of Object.entries(ISOLATED)) headers.set(name, value); // set, not append: a repeated header is invalid
  return new Response(response.body, { headers });
}

/** Cache first: the URLs contain hashes or versions, so their content never changes. */
async function file(request) {
  const cache = await caches.open(CACHE);
  const kept = await cache.match(request.url);
  if (kept) return isolated(kept);
  const response = await fetch(request);
  if (response.ok) await cache.put(request.url, response.clone());
  return isolated(response);
}
