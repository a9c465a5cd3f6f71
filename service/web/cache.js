/** Caches the runtime and the painters, so that the page works offline. Used by the page and its workers. Browsers have caches only over
 * HTTPS and on localhost; elsewhere everything is fetched each time. */

import { Failure } from "./remote.js";

export const CACHE = "painting";

const openCache = () => (globalThis.caches ? caches.open(CACHE).catch(() => null) : Promise.resolve(null));

/**
 * Resolves with the bytes at `url`, unzipped, from the cache or from the network. A damaged entry is fetched again. `onProgress` is called
 * with the bytes loaded so far; `size` is the unzipped size, `sha256` the digest of the content as it is sent, if they are known.
 * Rejects with Failure "unreachable".
 */
export async function bytes(url, { size, sha256, headers = {}, onProgress = () => {} } = {}) {
  const cache = await openCache();
  const cached = await cache?.match(url, { ignoreVary: true });
  const valid = cached && (await unzipAndCheck(new Uint8Array(await cached.arrayBuffer()), size, sha256));
  if (valid) return valid;
  const response = await fetch(url, { headers }).catch(() => null);
  if (!response?.ok) throw new Failure("unreachable", response ? `${url}: ${response.status}` : url);
  const content = await read(response, size, onProgress);
  const result = await unzipAndCheck(content, size, sha256);
  if (!result) throw new Failure("unreachable", `${url} is damaged or incomplete`);
  await cache?.put(url, new Response(content, { headers: { "Content-Type": "application/octet-stream" } })).catch(() => {}); // the disk may be full
  return result;
}

/** Unzips `content`. Returns null if its size or digest is wrong. */
async function unzipAndCheck(content, size, sha256) {
  if (sha256 && globalThis.crypto?.subtle && (await digest(content)) !== sha256) return null;
  const result = await unzip(content).catch(() => null);
  return result?.length === (size ?? result?.length) ? result : null;
}

async function read(response, size, onProgress) {
  const parts = [];
  let loaded = 0;
  const reader = response.body.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    parts.push(part.value);
    onProgress((loaded += part.value.length), size);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

/** Plain web servers send the runtime as a gzip file, without Content-Encoding. */
async function unzip(content) {
  if (content[0] !== 0x1f || content[1] !== 0x8b) return content;
  const stream = new Blob([content]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function digest(content) {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Resolves with JSON from the network or, if that is unreachable, from the cache. `check` may reject a response by throwing. */
export async function networkFirst(url, options, check) {
  const cache = await openCache();
  const response = await fetch(url, options).catch(() => null);
  if (response) {
    await check(response);
    await cache?.put(url, response.clone()).catch(() => {});
    return response.json();
  }
  const cached = await cache?.match(url);
  if (!cached) throw new Failure("unreachable");
  return cached.json();
}

/** Lists the URL and size of everything in the cache. */
export async function list() {
  const cache = await openCache();
  const requests = (await cache?.keys()) ?? [];
  return Promise.all(requests.map(async ({ url }) => ({ url, size: (await (await cache.match(url)).blob()).size })));
}

/** Removes everything whose URL satisfies `predicate`. */
export async function forget(predicate) {
  const cache = await openCache();
  for (const { url } of (await cache?.keys()) ?? []) if (predicate(url)) await cache.delete(url);
}
