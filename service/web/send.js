/** Sends a picture to the service and gets its painting back. */

import { Failure } from "./remote.js";

export const authorization = (key) => (key ? { Authorization: `Bearer ${key}` } : {});

/**
 * Resolves with `file` painted by the service, as PNG. `onProgress` is called with { sending: 0 to 1 }; only XMLHttpRequest reports how much
 * of a body has been sent. Rejects with Failure, "cancelled" if `signal` aborts it.
 */
export function send(file, { direction, size, headers, onProgress, signal }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `translate?${new URLSearchParams({ direction, size, format: "png" })}`);
    request.responseType = "blob";
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = ({ loaded, total }) => onProgress({ sending: total ? loaded / total : 1 });
    request.upload.onload = () => onProgress({ painting: 0 });
    request.onerror = () => reject(new Failure("unreachable"));
    request.onabort = () => reject(new Failure("cancelled"));
    request.onload = async () => {
      if (request.status !== 200) return reject(refusal(request.status, await request.response.text()));
      resolve(request.response);
    };
    signal.addEventListener("abort", () => request.abort());
    const body = new FormData();
    body.append("image", file, file.name);
    request.send(body);
  });
}

/** Makes a Failure of a problem document. The body may also be something else, from a proxy. */
export function refusal(status, body) {
  const code = status === 401 ? "key" : "refused";
  try {
    const { title, detail } = JSON.parse(body);
    return new Failure(code, `${title}. ${detail.replaceAll("`", "")}`);
  } catch {
    return new Failure(code, `Something between here and the service answered ${status}: try again later.`);
  }
}
