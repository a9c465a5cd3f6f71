/** The page: connects the controls, the queue of pictures and the stage. */

import { Camera, hasCamera } from "./camera.js";
import { Cards } from "./cards.js";
import { addDropping } from "./dropping.js";
import { Panel } from "./panel.js";
import { hasServer, listPainters } from "./painters.js";
import { Picture } from "./picture.js";
import { Place } from "./place.js";
import { Queue } from "./queue.js";
import { progressText, Stage } from "./stage.js";
import * as store from "./store.js";
import { about, loadTexts, t } from "./texts.js";
import { saveAll, Tray } from "./tray.js";
import { download } from "./share.js";
import { whereDialog } from "./where.js";

const EXAMPLES = ["temple", "flower", "cat", "coffee", "rocket"];
const find = (selector) => document.querySelector(selector);
const say = (text) => (find("#problem").textContent = text);

let painters = [];
const SIZE = "size"; // the key under which the stroke size is remembered
let look = { direction: null, size: Number(localStorage.getItem(SIZE) ?? 512), strength: 1, keepColors: false, ownSize: true };

const painterOf = (direction) => painters.find((painter) => painter.direction === direction);
const place = new Place(() => showPlace());
const queue = new Queue(place, painterOf, onChange);
const stage = new Stage();
const tray = new Tray(queue, select);
const panel = new Panel(queue, painterOf, stage, { onLook, onSaved: () => queue.current.keep().catch(() => {}), say });
let cards = null;
let updateWhere = () => {};

function showPlace() {
  const painter = painterOf(look.direction);
  const here = !painter || place.targetFor(painter) === "device";
  find("#place-name").textContent = t(here ? "onDevice" : "onServer");
  find("#place").dataset.where = here ? "device" : "server";
  updateWhere();
}

/** Shows the current picture, or the painter's sample if there is none yet. */
async function showStage(reveal = false) {
  const { current: picture } = queue;
  find("#welcome").hidden = Boolean(picture);
  find("#finish").hidden = !picture;
  cards?.show(picture);
  if (picture) await showPicture(picture, painterOf(picture.look.direction), reveal);
  else await showSample(painterOf(look.direction));
  panel.update();
  tray.update();
}

async function showSample(painter) {
  const { title, sentence } = about(painter);
  find("#about").textContent = sentence || find("#about").textContent;
  stage.working("");
  const names = { before: t("example"), after: t("after", { name: t("example"), painter: title }) };
  await stage.show({ before: painter.sample_source, after: painter.sample, names, tag: title, filling: true });
}

async function showPicture(picture, painter, reveal) {
  const { title } = about(painter);
  const painting = picture.painting(painter) ?? (queue.isDone(picture) ? null : picture.painting(painter, 192));
  const names = { before: t("before", { name: picture.name }), after: t("after", { name: picture.name, painter: title }) };
  await stage.show({ before: picture.unreadable ? null : picture.preview, after: painting?.file, names, tag: picture.unreadable ? picture.name : "", look: picture.look, reveal });
  showWork(picture);
}

function showWork(picture) {
  if (picture !== queue.current) return;
  const isOpen = queue.open.includes(picture);
  stage.working(isOpen ? (picture.state === "painting" ? progressText(picture.progress, about(painterOf(picture.look.direction)).title) : t(queue.paused ? "paused" : "waiting")) : "");
  say(picture.problem);
  find("#remedies").hidden = !["failed", "cancelled"].includes(picture.state) || queue.isDone(picture);
  find("#use-server").hidden = picture.remedy !== "server";
}

/** Called by the queue: `what` is "progress" while `picture` is painted, "settled" when that has ended, "thumbnail" for a painter's card. */
function onChange(picture, what) {
  if (what === "progress") return showWork(picture);
  if (what === "settled" && picture.problem && document.querySelector("#key input").value === "" && picture.problem === t("needsKey")) find("#key").hidden = false;
  if (picture === queue.current && what !== "thumbnail") showStage(what === "settled" && queue.isDone(picture));
  else if (picture === queue.current) cards.show(picture);
  tray.update();
}

function select(picture) {
  queue.current = picture;
  if (picture) {
    look = { ...picture.look };
    cards.choose(look.direction);
  }
  panel.showLook(look);
  say("");
  find("#remedies").hidden = true;
  showPlace();
  const shown = showStage();
  queue.pump();
  return shown;
}

/** Applies a change of `look`. Another painter or size needs a new painting; the rest is mixed again from the pixels on the stage. */
function onLook(change) {
  Object.assign(look, change);
  localStorage.setItem(SIZE, look.size);
  const { current: picture } = queue;
  if (picture) {
    Object.assign(picture.look, change);
    if ("direction" in change || "size" in change) {
      if (!queue.isDone(picture)) Object.assign(picture, { state: "waiting", problem: "", remedy: null });
      picture.note = "";
    } else stage.mix(picture.look);
    picture.keep().catch(() => {});
  }
  showPlace();
  if ("direction" in change || "size" in change) showStage(false);
  queue.pump();
}

/** Shows at once that a photo was chosen, because reading a large one takes a moment. */
function showReading() {
  find("#welcome").hidden = true;
  find("#finish").hidden = false;
  find("#painting-name").textContent = about(painterOf(look.direction)).title;
  stage.fill(false);
  stage.working(t("reading"), false);
}

async function add(chosen) {
  let isFirst = true;
  queue.unread += chosen.length;
  for (const file of chosen) {
    if (isFirst) showReading();
    const picture = new Picture(file, look);
    await picture.read();
    queue.pictures.push(picture);
    queue.unread -= 1;
    picture.keep().catch(() => {});
    if (isFirst) {
      select(picture);
      if (matchMedia("(max-width: 55.99rem)").matches) find("#stage").scrollIntoView({ block: "nearest" });
    }
    isFirst = false;
    tray.update();
    queue.pump();
  }
}

async function remove(pictures) {
  const index = queue.pictures.indexOf(queue.current);
  queue.pictures = queue.pictures.filter((picture) => !pictures.includes(picture));
  await Promise.all(pictures.map(({ id }) => store.remove(id)));
  select(queue.pictures[Math.min(index, queue.pictures.length - 1)] ?? null);
}

async function saveZip() {
  const done = queue.pictures.filter((picture) => queue.isDone(picture));
  const button = find("#zip");
  button.disabled = true;
  try {
    download(await saveAll(done, painterOf, (part) => (find("#tally").textContent = `${t("finishing")} ${Math.round(part * 100)} %`)));
    for (const picture of done) picture.keep().catch(() => {});
  } catch (error) {
    say(t("failed", { reason: error.message }));
  }
  tray.update();
}

function paintAll() {
  for (const picture of queue.pictures) {
    if (picture === queue.current) continue;
    picture.look = { ...look };
    Object.assign(picture, { state: "waiting", problem: "", note: "" });
  }
  tray.update();
  queue.pump();
}

function showExamples() {
  for (const name of EXAMPLES) {
    const address = new URL(`examples/${name}.jpg`, import.meta.url).href;
    const button = Object.assign(document.createElement("button"), { type: "button" });
    const image = Object.assign(document.createElement("img"), { src: address, alt: t(`example.${name}`), width: 96, height: 96, loading: "lazy", decoding: "async" });
    button.onclick = async () => {
      showReading();
      add([new File([await (await fetch(address)).blob()], `${name}.jpg`, { type: "image/jpeg" })]);
    };
    button.append(image);
    const item = document.createElement("li");
    item.append(button);
    find("#examples ul").append(item);
  }
}

async function openPainters() {
  painters = await listPainters(place.headers);
  find("#key").hidden = true;
  say("");
  queue.painters = painters;
  look.direction = painters[0].direction;
  cards = new Cards(painters, (direction) => onLook({ direction }));
  updateWhere = whereDialog(place, painters, () => queue.pictures, () => remove([...queue.pictures]));
  const stored = (await store.all()).map(Picture.restore).filter((picture) => painterOf(picture.look.direction));
  queue.pictures.push(...stored);
  cards.choose(look.direction);
  panel.showLook(look);
  await select(stored.at(-1) ?? null);
  document.documentElement.dataset.ready = "yes";
  warmUp();
}

/** Loads what painting on this device needs while the person is still looking around. */
function warmUp() {
  const painter = painterOf(look.direction);
  if (!place.canPaint(painter) || place.targetFor(painter) !== "device" || navigator.connection?.saveData) return;
  const begin = () => place.runTrial(painter).then(() => queue.pump(), () => {});
  (globalThis.requestIdleCallback ?? setTimeout)(begin, { timeout: 2000 });
}

async function start() {
  await loadTexts();
  showExamples();
  panel.hideUnsupported();
  find("#api").hidden = !hasServer;
  find("#live").hidden = !hasCamera();
  find("#take-photo").hidden = hasCamera() && matchMedia("(hover: hover) and (pointer: fine)").matches;
  const camera = new Camera(place, () => painterOf(look.direction), {
    onPicture: (file) => add([file]),
    onClose: () => { queue.paused = queue.holds = false; queue.pump(); },
    onProblem: say,
  });
  find("#live").onclick = () => {
    queue.paused = queue.holds = true;
    camera.open();
  };
  addDropping(add);
  find("#cancel").onclick = () => queue.cancel();
  find("#retry").onclick = () => queue.retry(queue.current);
  find("#use-server").onclick = () => { place.choose("server"); queue.retry(queue.current); };
  find("#zip").onclick = saveZip;
  find("#paint-all").onclick = paintAll;
  find("#remove").onclick = () => remove([queue.current]);
  find("#key").onsubmit = (event) => event.preventDefault();
  find("#key input").onchange = ({ target }) => { place.key = target.value; place.cancel(); openWhenReady(); };
  addEventListener("beforeunload", (event) => {
    if (queue.pictures.some((picture) => queue.isDone(picture) && !picture.saved)) event.preventDefault();
  });
  await openWhenReady();
  navigator.serviceWorker?.register("service-worker.js").catch(() => {}); // the page also works without it, for example on plain HTTP
}

/** Loads the painters. Tries again while the service is starting. */
async function openWhenReady() {
  if (painters.length) return queue.current && queue.retry(queue.current);
  try {
    await openPainters();
  } catch (error) {
    if (error.code === "key") find("#key").hidden = false;
    say(error.code === "key" ? t("needsKey") : error.code === "refused" ? error.message : t("unreachable"));
    if (error.code === "refused") setTimeout(openWhenReady, 2000);
  } finally {
    document.documentElement.classList.remove("returning");
  }
}

start();
