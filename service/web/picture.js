import { Refused, send } from "./send.js";

/** Problems of the picture itself, which sending it again does not solve. */
const FINAL = ["Broken picture", "Not a picture", "Too many pixels"];

const template = document.querySelector("#picture");

/** One picture on the page: as it was chosen, on its way, and painted. */
export class Picture {
  /** `onChange` is called with a sentence for screen readers whenever the picture is done, refused or removed. */
  constructor(file, { onChange, onRetry }) {
    this.file = file;
    this.result = null;
    this.element = document.importNode(template.content, true).firstElementChild;
    this.onChange = onChange;
    this.find("h2").textContent = file.name;
    this.find(".before").alt = `Original of ${file.name}`;
    this.find(".after").alt = `Translation of ${file.name}`;
    this.find(".split").oninput = ({ target }) => this.find(".stage").style.setProperty("--split", `${target.value}%`);
    this.find(".retry").onclick = () => onRetry(this);
    this.find(".remove").onclick = () => this.remove();
    this.find(".share").onclick = () => navigator.share({ files: [this.result] }).catch(() => {}); // closed without sharing
  }

  find(selector) {
    return this.element.querySelector(selector);
  }

  /** Ready to be put on the page: the picture's shape is known by then, so nothing moves later. */
  async load() {
    this.previewed = await show(this.find(".before"), this.file);
    if (!this.previewed) this.find(".before").hidden = true;
    this.shape(this.find(".before"));
    this.say("Waiting for its turn");
  }

  shape({ naturalWidth: width, naturalHeight: height }) {
    if (width) this.find(".stage").style.setProperty("--ratio", width / height);
  }

  /** Never rejects: what went wrong is told in the picture's place. */
  async paint({ path, query, key }) {
    if (this.removed) return;
    this.abort = new AbortController();
    const onSent = (part) => (part < 1 ? this.say(`Sending: ${Math.round(part * 100)} %`, part) : this.say("Painting…"));
    try {
      onSent(0);
      const { file, cycleError } = await send(this.file, { path, query, key, onSent, signal: this.abort.signal });
      await this.finish(file, cycleError);
    } catch (error) {
      if (error.name === "AbortError") return;
      if (!(error instanceof Refused)) throw error;
      this.refuse(error);
    }
  }

  async finish(file, cycleError) {
    this.result = file;
    await show(this.find(".after"), file);
    if (!this.previewed) this.shape(this.find(".after"));
    this.settle(cycleError === null ? "Painted" : `There and back: ${cycleError} of 255 off on average`);
    this.find(".after").hidden = this.find(".download").hidden = false;
    this.find(".split").hidden = !this.previewed;
    this.find(".download").href = this.find(".after").src;
    this.find(".download").download = file.name;
    this.find(".share").hidden = !navigator.canShare?.({ files: [file] });
    this.onChange(`${this.file.name}: ${this.find(".state").textContent}`);
  }

  refuse({ title, message }) {
    this.settle(`${title}. ${message}`);
    this.element.classList.add("refused");
    this.find(".retry").hidden = FINAL.includes(title);
    this.onChange(`${this.file.name}: ${title}. ${message}`);
  }

  /** A state on the way; without `part` nobody can know how far it is. */
  say(text, part) {
    this.element.classList.remove("refused");
    this.element.setAttribute("aria-busy", "true");
    this.find(".retry").hidden = true;
    this.find(".state").textContent = text;
    const progress = this.find("progress");
    if (part === undefined) progress.removeAttribute("value");
    else progress.value = part;
  }

  settle(text) {
    this.element.removeAttribute("aria-busy");
    this.find(".state").textContent = text;
  }

  remove() {
    this.removed = true;
    this.abort?.abort();
    for (const image of this.element.querySelectorAll("img")) URL.revokeObjectURL(image.src);
    const next = this.element.nextElementSibling ?? this.element.previousElementSibling;
    (next?.querySelector(".remove") ?? document.querySelector("#choose")).focus();
    this.element.remove();
    this.onChange(`${this.file.name} removed`);
  }
}

/** Whether the browser could show `file` in `image`. */
async function show(image, file) {
  URL.revokeObjectURL(image.src);
  image.src = URL.createObjectURL(file);
  return image.decode().then(() => true, () => false);
}
