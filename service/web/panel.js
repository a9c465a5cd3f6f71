/** The controls for the current painting: mixing, saving and sharing. */

import { canShare, clip, clipType, download, share, sideBySide } from "./share.js";
import { about, t } from "./texts.js";

const find = (selector) => document.querySelector(selector);
const BUTTONS = ["#save", "#share", "#pair", "#clip"];

export class Panel {
  /** `onLook` is called with each change of the look, `onSaved` when the current picture has been saved. */
  constructor(queue, painterOf, stage, { onLook, onSaved, say }) {
    Object.assign(this, { queue, painterOf, stage, onSaved, say });
    for (const input of document.querySelectorAll("[name=size]")) input.onchange = () => onLook({ size: Number(input.value) });
    find("#strength").oninput = ({ target }) => {
      find("#percent").textContent = `${Math.round(target.value * 100)} %`;
      onLook({ strength: Number(target.value) });
    };
    find("#colours").onchange = ({ target }) => onLook({ keepColors: target.checked });
    find("#own-size").onchange = ({ target }) => onLook({ ownSize: target.checked });
    find("#save").onclick = () => this.#run(t("finishing"), async (picture) => download(await picture.render(this.#painter)));
    find("#share").onclick = () => this.#run(t("finishing"), async (picture) => share(await picture.render(this.#painter)));
    find("#pair").onclick = () => this.#run(t("finishing"), async () => share(await sideBySide(this.stage.sides, this.#name("before-and-after"))));
    find("#clip").onclick = () => this.#run(t("recording"), async () => share(await clip(this.stage.sides, this.#name("video"))));
  }

  get #painter() {
    return this.painterOf(this.queue.current.look.direction);
  }

  #name(what) {
    return `${this.queue.current.name.replace(/\.[^.]*$/, "")}.${this.#painter.direction}.${what}`;
  }

  /** Hides the buttons that this browser does not support. */
  hideUnsupported() {
    find("#share").hidden = !canShare();
    find("#clip").hidden = !clipType();
  }

  showLook({ size, strength, keepColors, ownSize }) {
    for (const input of document.querySelectorAll("[name=size]")) input.checked = Number(input.value) === size;
    find("#strength").value = strength;
    find("#percent").textContent = `${Math.round(strength * 100)} %`;
    find("#colours").checked = keepColors;
    find("#own-size").checked = ownSize;
  }

  update() {
    const { current: picture } = this.queue;
    if (!picture) return;
    const painting = picture.painting(this.#painter);
    for (const button of BUTTONS) find(button).disabled = !painting;
    find("#pair").disabled = find("#clip").disabled = !painting || Boolean(picture.unreadable);
    find("#strength").disabled = find("#colours").disabled = Boolean(picture.unreadable);
    find("#painting-name").textContent = about(this.#painter).title;
    find("#painting-state").textContent = this.#state(picture, painting);
    this.showLook(picture.look);
  }

  #state(picture, painting) {
    if (!painting) return picture.state === "cancelled" ? t("cancelled") : "";
    const done = painting.where === "server" ? t("doneServer") : t("done", { seconds: painting.seconds.toFixed(1) });
    return picture.note ? `${done}. ${picture.note}` : done;
  }

  async #run(text, action) {
    const { current: picture } = this.queue;
    for (const button of BUTTONS) find(button).disabled = true;
    find("#painting-state").textContent = text;
    try {
      if ((await action(picture)) !== false) picture.saved = true;
      this.onSaved();
    } catch (error) {
      this.say(t("failed", { reason: error.message }));
    }
    this.update();
  }
}
