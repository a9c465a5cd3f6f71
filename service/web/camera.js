/** Paints the camera's picture live: always the newest frame, as many per second as the device manages. */

import { t } from "./texts.js";

const SIDE = 256;
const dialog = document.querySelector("#camera");
const find = (selector) => dialog.querySelector(selector);

export const hasCamera = () => Boolean(navigator.mediaDevices?.getUserMedia);

export class Camera {
  #stream = null;
  #facing = "environment";

  /** `painter` returns the chosen painter; `onPicture` is called with the photo that the shutter took, as a File. */
  constructor(place, painter, { onPicture, onClose, onProblem }) {
    this.place = place;
    this.painter = painter;
    this.onProblem = onProblem;
    find("#camera-close").onclick = () => dialog.close();
    find("#shutter").onclick = async () => {
      const file = await this.#take();
      dialog.close();
      onPicture(file);
    };
    find("#flip").onclick = async () => {
      this.#facing = this.#facing === "user" ? "environment" : "user";
      await this.#start();
    };
    dialog.onclose = () => {
      this.#stop();
      onClose();
    };
  }

  async open() {
    dialog.showModal();
    find("#rate").textContent = t("startLive");
    if (await this.#start()) this.#paint();
  }

  async #start() {
    this.#stop();
    try {
      const video = { facingMode: this.#facing, width: { ideal: 1920 }, height: { ideal: 1080 } };
      this.#stream = await navigator.mediaDevices.getUserMedia({ video, audio: false });
      find("video").srcObject = this.#stream;
      await find("video").play();
      return true;
    } catch (error) {
      dialog.close();
      this.onProblem(t("noCamera", { reason: error.message }));
      return false;
    }
  }

  #stop() {
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    this.#stream = null;
  }

  async #paint() {
    const video = find("video");
    const canvas = find("canvas");
    let rate = null; // the first frame does not count: it waits for the painter to load
    while (dialog.open) {
      const startedAt = performance.now();
      const scale = SIDE / Math.max(video.videoWidth, video.videoHeight);
      const [resizeWidth, resizeHeight] = [video.videoWidth, video.videoHeight].map((side) => Math.max(8, Math.round(side * scale)));
      try {
        const frame = await createImageBitmap(video, { resizeWidth, resizeHeight, resizeQuality: "medium" });
        const painted = await this.place.frame(frame, this.painter());
        if (canvas.width !== painted.width || canvas.height !== painted.height) Object.assign(canvas, { width: painted.width, height: painted.height });
        canvas.getContext("2d").drawImage(painted, 0, 0);
        painted.close();
      } catch (error) {
        if (!dialog.open) return;
        dialog.close();
        this.onProblem(t("noCamera", { reason: error.message }));
        return;
      }
      const now = 1000 / (performance.now() - startedAt);
      if (rate) find("#rate").textContent = t("rate", { count: rate.toFixed(rate < 10 ? 1 : 0) });
      rate = rate === null ? 0 : rate ? 0.8 * rate + 0.2 * now : now;
    }
  }

  /** Takes the current frame at the camera's full size. */
  async #take() {
    const video = find("video");
    const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
    canvas.getContext("2d").drawImage(video, 0, 0);
    const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: 0.95 });
    return new File([blob], `camera-${new Date().toISOString().slice(0, 19).replaceAll(":", "-")}.jpg`, { type: blob.type });
  }
}
