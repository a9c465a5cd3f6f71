/** The painters' cards: a radio button each, with the painter's version of an example or of the current picture. */

import { THUMBNAIL } from "./picture.js";
import { about } from "./texts.js";

export class Cards {
  #cards = new Map();
  #urls = new Map();

  /** `onChoose` is called with the direction. */
  constructor(painters, onChoose) {
    const groups = [[document.querySelector("#painters"), painters.filter(({ source }) => source === "photo")], [document.querySelector("#reversers"), painters.filter(({ source }) => source !== "photo")]];
    for (const ghost of document.querySelectorAll(".ghost")) ghost.remove();
    for (const [group, members] of groups) {
      for (const painter of members) {
        const card = this.#card(painter);
        card.querySelector("input").onchange = () => onChoose(painter.direction);
        this.#cards.set(painter.direction, card);
        group.append(card);
      }
    }
    document.querySelector("#to-photo").hidden = groups[1][1].length === 0;
    this.painters = painters;
  }

  #card(painter) {
    const { title, sentence } = about(painter);
    const card = document.createElement("label");
    card.className = "card";
    card.title = sentence;
    const input = Object.assign(document.createElement("input"), { type: "radio", name: "painter", value: painter.direction });
    const image = Object.assign(document.createElement("img"), { alt: "", loading: "lazy", decoding: "async", width: 160, height: 120 });
    if (painter.sample) image.src = painter.sample;
    const name = Object.assign(document.createElement("b"), { textContent: title });
    const years = Object.assign(document.createElement("small"), { textContent: painter.years ?? "" });
    card.append(input, image, name, years);
    return card;
  }

  choose(direction) {
    const input = this.#cards.get(direction)?.querySelector("input");
    if (input) input.checked = true;
    if (input?.closest("details")) input.closest("details").open = true;
  }

  /** Shows each painter's version of `picture` if there is one, otherwise the painter's sample. */
  show(picture) {
    for (const painter of this.painters) {
      const image = this.#cards.get(painter.direction).querySelector("img");
      const small = picture?.painting(painter) ?? picture?.painting(painter, THUMBNAIL);
      const url = small ? this.#url(small.file) : painter.sample;
      if (url && image.getAttribute("src") !== url) image.src = url;
    }
    for (const [file, url] of this.#urls) {
      if (picture && [...picture.paintings.values()].some((painting) => painting.file === file)) continue;
      URL.revokeObjectURL(url);
      this.#urls.delete(file);
    }
  }

  #url(file) {
    if (!this.#urls.has(file)) this.#urls.set(file, URL.createObjectURL(file));
    return this.#urls.get(file);
  }
}
