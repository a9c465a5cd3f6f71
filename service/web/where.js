/** The dialog about where pictures are painted and what is stored on the device. */

import { forget, list } from "./cache.js";
import { hasServer, isOnDevice } from "./painters.js";
import { about, t } from "./texts.js";

const dialog = document.querySelector("#where");
const megabytes = (bytes) => t("megabytes", { count: (bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0) });

/** `pictures` returns all pictures; `onClear` removes them. Returns a function that updates the dialog if it is open. */
export function whereDialog(place, painters, pictures, onClear) {
  const update = () => show(place, painters, pictures());
  document.querySelector("#place").onclick = () => {
    dialog.showModal();
    update();
  };
  for (const input of dialog.querySelectorAll("[name=place]")) {
    input.checked = input.value === place.choice;
    input.disabled = (!hasServer && input.value === "server") || (!painters.some(isOnDevice) && input.value === "device");
    input.onchange = () => place.choose(input.value);
  }
  document.querySelector("#clear-photos").onclick = async () => {
    await onClear();
    update();
  };
  document.querySelector("#where-close").onclick = () => dialog.close(); // the page's content security policy does not allow a form with method "dialog"
  dialog.onclick = ({ target }) => target === dialog && dialog.close();
  return () => dialog.open && update();
}

async function show(place, painters, pictures) {
  document.querySelector("#trial").textContent = trialText(place.trial, painters);
  const cached = await list();
  const vendor = cached.filter(({ url }) => url.includes("/vendor/"));
  const rows = [];
  if (vendor.length) rows.push(row(t("runtime"), sum(vendor), () => forget((url) => url.includes("/vendor/"))));
  for (const painter of painters) {
    const own = cached.filter(({ url }) => painter.files.some((file) => file.url === url));
    if (own.length) rows.push(row(about(painter).title, sum(own), () => forget((url) => own.some((each) => each.url === url))));
  }
  if (pictures.length) {
    const bytes = pictures.flatMap(({ file, paintings }) => [file, ...[...paintings.values()].map((painting) => painting.file)]);
    rows.push(row(t("photos"), sum(bytes)));
  }
  if (!rows.length) rows.push(Object.assign(document.createElement("li"), { textContent: t("nothingKept") }));
  document.querySelector("#kept").replaceChildren(...rows);
}

const sum = (files) => files.reduce((total, { size }) => total + size, 0);

function row(name, bytes, remove) {
  const item = document.createElement("li");
  item.append(Object.assign(document.createElement("span"), { textContent: name }), Object.assign(document.createElement("small"), { textContent: megabytes(bytes) }));
  if (remove) {
    const button = Object.assign(document.createElement("button"), { type: "button", className: "small", textContent: t("forget") });
    button.setAttribute("aria-label", `${t("forget")}: ${name}`);
    button.onclick = () => remove().then(() => item.remove());
    item.append(button);
  }
  return item;
}

function trialText(trial, painters) {
  if (!painters.some(isOnDevice)) return t("trialNone");
  if (!trial || trial.failure) return t("trialPending");
  const how = trial.device === "webgpu" ? t("gpu") : t("threads", { count: trial.threads });
  return t("trial", { seconds: trial.seconds.toFixed(1), how });
}
