// Caches the page, so that it opens offline. The page itself caches runtime and painters (cache.js) and stores pictures (store.js).
const PAGE = [];
const CACHE = "page";
const urls = PAGE.map((path) => new URL(path, self.registration.scope).href);
const web = new URL("web/", self.registration.scope).href;
const ISOLATED = { "Cross-Origin-Embedder-Policy": "require-corp", "Cross-Origin-Opener-Policy": "same-origin" };

self.addEventListener("install", (event) => event.waitUntil(cachePage()));
self.addEventListener("activate", (event) => event.waitUntil(removeOldFiles().then(() => self.clients.claim()))); // runs when no page of an earlier release is open

async function cachePage() {
  const cache = await caches.open(CACHE);
  const missing = await Promise.all(urls.map(async (url, index) => (index === 0 || !(await cache.match(url)) ? url : null)));
  await cache.addAll(missing.filter(Boolean));
}

/** Removes the files of earlier releases, but keeps samples. */
async function removeOldFiles() {
  const cache = await caches.open(CACHE);
  for (const { url } of await cache.keys()) if (url.startsWith(web) && !urls.includes(url)) await cache.delete(url);
}

self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET") return;
  if (request.url === urls[0]) event.respondWith(networkFirst(request));
  else if ((request.url.startsWith(web) && !/\.wasm(\.gz)?$/.test(request.url)) || /\/models\/[^/]+\/\d+\/sample[^/]*$/.test(request.url)) event.respondWith(cacheFirst(request));
});

/** Network first, so that a new release is seen at once. */
async function networkFirst(request) {
  const cache = await caches.open(CACHE);
  const response = await fetch(request).catch(() => null);
  if (response?.ok) await cache.put(request.url, response.clone());
  return withIsolation(response?.ok ? response : ((await cache.match(request.url)) ?? response ?? Response.error()));
}

/** Adds the headers without which the page and its workers may not use threads. */
function withIsolation(response) {
  if (!response.ok) return response;
  const headers = new Headers(response.headers);
  for (const [name, value] of Object.entries(ISOLATED)) headers.set(name, value); // set, not append: a repeated header is invalid
  return new Response(response.body, { headers });
}

/** Cache first: the URLs contain hashes or versions, so their content never changes. */
async function cacheFirst(request) {
  const cache = await caches.open(CACHE);
  const cached = await cache.match(request.url);
  if (cached) return withIsolation(cached);
  const response = await fetch(request);
  if (response.ok) await cache.put(request.url, response.clone());
  return withIsolation(response);
}
