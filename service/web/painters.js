/** The painters: what GET /directions tells, in the order in which people are shown them. */

import { newest } from "./kept.js";
import { refusal } from "./send.js";

export const hasServer = document.documentElement.dataset.server === "yes";

const ratio = ({ evaluation }) => (evaluation.swd ?? 1) / (evaluation.swd_base ?? 1);

/** Those that paint photographs first, and of these the one nearest to its painter's pictures. Rejects with Failure. */
export async function listPainters(headers) {
  const painters = await newest("directions", { headers }, async (response) => {
    if (!response.ok) throw refusal(response.status, await response.text());
  });
  for (const painter of painters) for (const file of painter.files) file.url = new URL(file.url, document.baseURI).href;
  const paints = ({ source }) => source === "photo";
  return painters.sort((a, b) => paints(b) - paints(a) || ratio(a) - ratio(b));
}

/** Whether the page is handed its graph. */
export const isOnDevice = ({ files }) => files.length > 0;
