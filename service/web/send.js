/** What the service refused, or could not be asked; `message` says what to do. */
export class Refused extends Error {
  constructor(title, detail, status = 0) {
    super(detail);
    this.title = title;
    this.status = status;
  }
}

const UNREACHABLE = new Refused("No connection", "The service cannot be reached: look at your connection and try again.");

export const authorization = (key) => (key ? { Authorization: `Bearer ${key}` } : {});

/** The loaded directions. Rejects with Refused. */
export async function listDirections(key) {
  const response = await fetch("directions", { headers: authorization(key) }).catch(() => Promise.reject(UNREACHABLE));
  if (!response.ok) throw refusal(response.status, await response.text());
  return response.json();
}

/**
 * Send one picture; `onSent` is called with 0 to 1. Only XMLHttpRequest tells how much of a body has gone out.
 * Resolves with { file, cycleError }, rejects with Refused, or with AbortError through `signal`.
 */
export function send(picture, { path, query, key, onSent, signal }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `${path}?${new URLSearchParams(query)}`);
    request.responseType = "blob";
    for (const [name, value] of Object.entries(authorization(key))) request.setRequestHeader(name, value);
    request.upload.onprogress = ({ loaded, total }) => onSent(total ? loaded / total : 1);
    request.upload.onload = () => onSent(1);
    request.onerror = () => reject(UNREACHABLE);
    request.onabort = () => reject(signal.reason);
    request.onload = async () => {
      if (request.status !== 200) return reject(refusal(request.status, await request.response.text()));
      const name = fileName(request.getResponseHeader("Content-Disposition") ?? "");
      const file = new File([request.response], name, { type: request.response.type });
      resolve({ file, cycleError: request.getResponseHeader("X-Cycle-Error") });
    };
    signal.addEventListener("abort", () => request.abort());
    const body = new FormData();
    body.append("image", picture, picture.name);
    request.send(body);
  });
}

/** From the problem document; a proxy in between may have answered with something else. */
function refusal(status, body) {
  try {
    const { title, detail } = JSON.parse(body);
    return new Refused(title, detail.replaceAll("`", ""), status);
  } catch {
    return new Refused("No answer", `Something between here and the service answered ${status}: try again later.`, status);
  }
}

function fileName(disposition) {
  const extended = /filename\*=UTF-8''([^;]+)/.exec(disposition);
  return extended ? decodeURIComponent(extended[1]) : (/filename="([^"]+)"/.exec(disposition)?.[1] ?? "translation");
}
