/** The painters: the entries of GET /directions, in the order in which the page shows them. */

import { networkFirst } from "./cache.js";
import { refusal } from "./send.js";

export const hasServer = document.documentElement.dataset.server === "yes";

/** Returns how good a painter is; higher is better. Painters without a score come last. */
const quality = ({ evaluation: { score, swd, swd_base } }) => score ?? (swd ? -swd / swd_base : -1);

/** Lists painters: those that paint photographs first, the best of them first. Rejects with Failure. */
export async function listPainters(headers) {
  const painters = await networkFirst("directions", { headers }, async (response) => {
    if (!response.ok) throw refusal(response.status, await response.text());
  });
  for (const painter of painters) for (const file of painter.files) file.url = new URL(file.url, document.baseURI).href;
  const paints = ({ source }) => source === "photo";
  return painters.sort((a, b) => paints(b) - paints(a) || quality(b) - quality(a));
}

/** Whether the service provides the painter's graph for download. */
export const isOnDevice = ({ files }) => files.length > 0;
