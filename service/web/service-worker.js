// Keeps the page, so that it opens without a connection. What paints is kept by the page itself (kept.js), pictures in store.js.
const PAGE = [];
const CACHE = "page";
const addresses = PAGE.map((path) => new URL(path, self.registration.scope).href);
const web = new URL("web/", self.registration.scope).href;
const ISOLATED = { "Cross-Origin-Embedder-Policy": "require-corp", "Cross-Origin-Opener-Policy": "same-origin" };

self.addEventListener("install", (event) => event.waitUntil(keep()));
self.addEventListener("activate", (event) => event.waitUntil(forgetOld().then(() => self.clients.claim()))); // once no page of an earlier release is open

async function keep() {
  const cache = await caches.open(CACHE);
  const missing = await Promise.all(addresses.map(async (address, index) => (index === 0 || !(await cache.match(address)) ? address : null)));
  await cache.addAll(missing.filter(Boolean));
}

/** Files of earlier releases; samples stay. */
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

/** From the service while it is there, so that a new release is seen at once. */
async function page(request) {
  const cache = await caches.open(CACHE);
  const response = await fetch(request).catch(() => null);
  if (response?.ok) await cache.put(request.url, response.clone());
  return isolated(response?.ok ? response : ((await cache.match(request.url)) ?? response ?? Response.error()));
}

/** A page that says so, and its workers, which must say so too, may have threads. */
function isolated(response) {
  if (!response.ok) return response;
  const headers = new Headers(response.headers);
  for (const [name, value] of Object.entries(ISOLATED)) headers.set(name, value); // said twice, it is not understood
  return new Response(response.body, { headers });
}

/** Their addresses hold hashes or versions, so that what is kept is what would come, also of a release that is not this worker's. */
async function file(request) {
  const cache = await caches.open(CACHE);
  const kept = await cache.match(request.url);
  if (kept) return isolated(kept);
  const response = await fetch(request);
  if (response.ok) await cache.put(request.url, response.clone());
  return isolated(response);
}
