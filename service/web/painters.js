/** The painters: what GET /directions tells, in the order in which people are shown them. */

import { newest } from "./kept.js";
import { refusal } from "./send.js";

export const hasServer = document.documentElement.dataset.server === "yes";

/** Higher is better; painters that were never given a score come after those that were. */
const looks = ({ evaluation: { score, swd, swd_base } }) => score ?? (swd ? -swd / swd_base : -1);

/** Those that paint photographs first, and of these the one that was judged best. Rejects with Failure. */
export async function listPainters(headers) {
  const painters = await newest("directions", { headers }, async (response) => {
    if (!response.ok) throw refusal(response.status, await response.text());
  });
  for (const painter of painters) for (const file of painter.files) file.url = new URL(file.url, document.baseURI).href;
  const paints = ({ source }) => source === "photo";
  return painters.sort((a, b) => paints(b) - paints(a) || looks(b) - looks(a));
}

/** Whether the page is handed its graph. */
export const isOnDevice = ({ files }) => files.length > 0;
