import { Picture } from "./picture.js";
import { listDirections } from "./send.js";
import { zip } from "./zip.js";

const form = document.querySelector("#form");
const list = document.querySelector("#pictures");
const notice = document.querySelector("#notice");
const drop = document.querySelector("#drop");
const zipButton = document.querySelector("#zip");

let pictures = [];
let turn = Promise.resolve(); // one picture at a time: a page shall not fill the service's queue

async function fillDirections() {
  try {
    const directions = await listDirections(form.key.value);
    form.direction.replaceChildren(...directions.map(({ direction, source, target }) => new Option(`${source} → ${target}`, direction)));
    form.direction.value = directions.find(({ source }) => source === "photo")?.direction ?? directions[0]?.direction;
    notice.textContent = "";
  } catch (error) {
    if (error.status === 401) document.querySelector("#key").hidden = false;
    notice.textContent = error.status === 401 ? "This service asks for a key." : error.message;
  }
}

/** What the form asks for, as /translate and /cycle take it. */
function wish() {
  const query = { direction: form.direction.value, size: form.size.value, strength: form.strength.value, keep_colors: form.keep_colors.checked };
  return { path: form.cycle.checked ? "cycle" : "translate", query, key: form.key.value };
}

async function add(files) {
  for (const file of files) {
    const picture = new Picture(file, { onChange: changed, onRetry: queue });
    await picture.load();
    pictures.push(picture);
    list.append(picture.element);
    queue(picture);
  }
  changed("");
}

function queue(picture) {
  const wished = wish();
  picture.say("Waiting for its turn");
  turn = turn.then(() => picture.paint(wished));
}

function changed(news) {
  pictures = pictures.filter(({ removed }) => !removed);
  document.querySelector("#all").hidden = pictures.length === 0;
  zipButton.disabled = !pictures.some(({ result }) => result);
  if (news) document.querySelector("#news").textContent = news;
}

async function downloadAll() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await zip(pictures.map(({ result }) => result).filter(Boolean)));
  link.download = "translations.zip";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // the browser may still be asking where to
}

for (const input of document.querySelectorAll("input[type=file]")) {
  input.addEventListener("change", () => {
    add([...input.files]);
    input.value = ""; // so that the same file can be chosen again
  });
}
addEventListener("paste", ({ clipboardData }) => add([...clipboardData.files]));
addEventListener("dragover", (event) => {
  event.preventDefault();
  drop.classList.add("over");
});
addEventListener("dragleave", ({ relatedTarget }) => relatedTarget || drop.classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  add([...event.dataTransfer.files]);
});
form.addEventListener("submit", (event) => event.preventDefault());
form.key.addEventListener("change", fillDirections);
form.strength.addEventListener("input", () => {
  document.querySelector("#percent").textContent = `${Math.round(form.strength.value * 100)} %`;
});
document.querySelector("#again").addEventListener("click", () => pictures.forEach(queue));
zipButton.addEventListener("click", downloadAll);

fillDirections();
navigator.serviceWorker?.register("web/worker.js", { scope: "./" }).catch(() => {}); // the page works without, and where http forbids it
