/** What the page keeps on the device, so that it works without a connection: the runtime and the painters. Page and workers
 * use it. Browsers offer caches only over HTTPS and on this machine itself; elsewhere everything is fetched anew. */

import { Failure } from "./remote.js";

export const CACHE = "painting";

const opened = () => (globalThis.caches ? caches.open(CACHE).catch(() => null) : Promise.resolve(null));

/**
 * The bytes at `url`, from what is kept or else fetched and kept; what is kept but damaged is fetched anew. `onProgress` is told
 * bytes loaded; `size` is of the content once unzipped, `sha256` of the content as it comes, where it is known. Rejects with
 * Failure "unreachable".
 */
export async function bytes(url, { size, sha256, headers = {}, onProgress = () => {} } = {}) {
  const cache = await opened();
  const kept = await cache?.match(url, { ignoreVary: true });
  const known = kept && (await checked(new Uint8Array(await kept.arrayBuffer()), size, sha256));
  if (known) return known;
  const response = await fetch(url, { headers }).catch(() => null);
  if (!response?.ok) throw new Failure("unreachable", response ? `${url}: ${response.status}` : url);
  const content = await read(response, size, onProgress);
  const made = await checked(content, size, sha256);
  if (!made) throw new Failure("unreachable", `${url} is not what it should be`);
  await cache?.put(url, new Response(content, { headers: { "Content-Type": "application/octet-stream" } })).catch(() => {}); // a full disk
  return made;
}

/** `content` unzipped, or null where it is not what it should be. */
async function checked(content, size, sha256) {
  if (sha256 && globalThis.crypto?.subtle && (await digest(content)) !== sha256) return null;
  const made = await unzipped(content).catch(() => null);
  return made?.length === (size ?? made?.length) ? made : null;
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

/** Plain web servers hand out the runtime as the gzip file that it is. */
async function unzipped(content) {
  if (content[0] !== 0x1f || content[1] !== 0x8b) return content;
  const stream = new Blob([content]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function digest(content) {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** JSON that is asked for anew, and kept for when nobody answers. `look` may refuse an answer by throwing. */
export async function newest(url, options, look) {
  const cache = await opened();
  const response = await fetch(url, options).catch(() => null);
  if (response) {
    await look(response);
    await cache?.put(url, response.clone()).catch(() => {});
    return response.json();
  }
  const kept = await cache?.match(url);
  if (!kept) throw new Failure("unreachable");
  return kept.json();
}

/** The addresses of what is kept, and each one's bytes. */
export async function list() {
  const cache = await opened();
  const requests = (await cache?.keys()) ?? [];
  return Promise.all(requests.map(async ({ url }) => ({ url, size: (await (await cache.match(url)).blob()).size })));
}

/** Forgets what `fits` says of its address. */
export async function forget(fits) {
  const cache = await opened();
  for (const { url } of (await cache?.keys()) ?? []) if (fits(url)) await cache.delete(url);
}
