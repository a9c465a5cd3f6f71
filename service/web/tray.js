/** Thumbnails of all photographs, and the buttons that act on all of them. */

import { t } from "./texts.js";
import { zip } from "./zip.js";

const find = (selector) => document.querySelector(selector);

export class Tray {
  #items = new Map();

  /** `queue` holds the pictures; `onSelect` is called with the picture that is tapped. */
  constructor(queue, onSelect) {
    this.queue = queue;
    this.onSelect = onSelect;
    find("#pause").onclick = () => {
      queue.paused = !queue.paused;
      this.update();
      queue.pump();
    };
  }

  /** Brings the thumbnails up to date. */
  update() {
    const { pictures, current } = this.queue;
    for (const [picture, item] of this.#items) {
      if (pictures.includes(picture)) continue;
      URL.revokeObjectURL(item.querySelector("img").src);
      item.remove();
      this.#items.delete(picture);
    }
    for (const picture of pictures) {
      const item = this.#items.get(picture) ?? this.#add(picture);
      const state = this.queue.isDone(picture) ? "done" : picture.state;
      item.dataset.state = state;
      item.querySelector("button").setAttribute("aria-pressed", picture === current);
      item.querySelector("button").setAttribute("aria-label", t("selectPhoto", { name: picture.name, state: picture.problem || t(`state.${state}`) }));
    }
    const done = pictures.filter((picture) => this.queue.isDone(picture)).length;
    const all = pictures.length + this.queue.unread;
    find("#tray").hidden = pictures.length === 0;
    localStorage.setItem("photos", pictures.length); // for returning.js
    find("#tray").classList.toggle("many", all > 1);
    find("#tally").textContent = t("tally", { done, all });
    find("#all-progress").value = all ? done / all : 0;
    find("#zip").disabled = done === 0;
    find("#pause").textContent = t(this.queue.paused ? "resume" : "pause");
    find("#pause").disabled = this.queue.open.length === 0 && !this.queue.paused;
  }

  #add(picture) {
    const item = document.createElement("li");
    const button = Object.assign(document.createElement("button"), { type: "button" });
    const image = Object.assign(document.createElement("img"), { alt: "", width: 96, height: 96, decoding: "async" });
    if (picture.preview) image.src = URL.createObjectURL(picture.preview);
    button.onclick = () => this.onSelect(picture);
    button.append(image);
    item.append(button);
    find("#pictures").append(item);
    this.#items.set(picture, item);
    return item;
  }
}

/** Makes one ZIP of all paintings, one file after the other. */
export async function saveAll(pictures, painterOf, onProgress) {
  const files = [];
  for (const [index, picture] of pictures.entries()) {
    onProgress(index / pictures.length);
    files.push(await picture.render(painterOf(picture.look.direction)));
    picture.saved = true;
  }
  return new File([await zip(files)], "paintings.zip", { type: "application/zip" });
}
