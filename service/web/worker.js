// Keeps the page's own files, so that it opens without a connection; pictures and answers are never kept.
const CACHE = "shell";
const SHELL = ["./", ...["style.css", "app.js", "picture.js", "send.js", "zip.js", "icon.svg", "manifest.webmanifest"].map((name) => `web/${name}`)];
const urls = SHELL.map((path) => new URL(path, self.registration.scope).href);

self.addEventListener("install", (event) => event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(urls))));

self.addEventListener("fetch", (event) => {
  if (event.request.method === "GET" && urls.includes(event.request.url)) event.respondWith(newest(event.request));
});

/** From the service while it is there, so that the files always fit it. */
async function newest(request) {
  const cache = await caches.open(CACHE);
  try {
    const response = await fetch(request);
    if (response.ok) await cache.put(request, response.clone());
    return response;
  } catch {
    return cache.match(request);
  }
}
