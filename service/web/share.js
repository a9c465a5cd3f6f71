/** What people share: the painting, both pictures side by side, and a short clip. */

const GAP = 16;
const MAX_SIDE = 1440;
const CLIP = { side: 720, seconds: 4, rate: 30 };

export function download(file) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = file.name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // the browser may still be asking where to save it
}

export const canShare = () => Boolean(navigator.canShare?.({ files: [new File(["x"], "x.jpg", { type: "image/jpeg" })] }));

/** Opens the system's share menu. Saves the file instead if there is no such menu, or if the tap is too long ago for the browser to
 * allow it. Resolves with false if the person closed the menu. */
export async function share(file) {
  try {
    if (navigator.canShare?.({ files: [file] })) {
      await navigator.share({ files: [file] });
      return true;
    }
  } catch ({ name }) {
    if (name === "AbortError") return false; // closed without sharing
  }
  download(file);
  return true;
}

/** Photograph and painting side by side, or one above the other if they are wide. */
export async function sideBySide({ before, after }, name) {
  const scale = Math.min(1, MAX_SIDE / Math.max(after.width, after.height));
  const [width, height] = [Math.round(after.width * scale), Math.round(after.height * scale)];
  const isWide = width > height;
  const canvas = new OffscreenCanvas(isWide ? width : 2 * width + GAP, isWide ? 2 * height + GAP : height);
  const context = canvas.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(before, 0, 0, width, height);
  context.drawImage(after, isWide ? 0 : width + GAP, isWide ? height + GAP : 0, width, height);
  const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: 0.9 });
  return new File([blob], `${name}.jpg`, { type: blob.type });
}

const TYPES = ["video/mp4", "video/webm;codecs=vp9", "video/webm;codecs=vp8", "video/webm"];

/** The first video type that this browser can record, if any. */
export const clipType = () => TYPES.find((type) => globalThis.MediaRecorder?.isTypeSupported(type));

/** Records a line that sweeps over the photograph and back, revealing the painting. */
export async function clip({ before, after }, name) {
  const scale = Math.min(1, CLIP.side / Math.max(after.width, after.height));
  const even = (side) => 2 * Math.round((side * scale) / 2); // encoders need even sides
  const canvas = Object.assign(document.createElement("canvas"), { width: even(after.width), height: even(after.height) });
  const type = clipType();
  const recorder = new MediaRecorder(canvas.captureStream(CLIP.rate), { mimeType: type, videoBitsPerSecond: 5_000_000 });
  const parts = [];
  recorder.ondataavailable = ({ data }) => parts.push(data);
  const stopped = new Promise((resolve) => (recorder.onstop = resolve));
  const startedAt = performance.now();
  recorder.start();
  for (let part = 0; part < 1; part = (performance.now() - startedAt) / 1000 / CLIP.seconds) {
    drawPart(canvas, before, after, 0.5 - 0.5 * Math.cos(2 * Math.PI * Math.min(1, Math.max(0, part * 1.2 - 0.1))));
    await new Promise((resolve) => setTimeout(resolve, 1000 / CLIP.rate));
  }
  recorder.stop();
  await stopped;
  const suffix = type.startsWith("video/mp4") ? "mp4" : "webm";
  return new File(parts, `${name}.${suffix}`, { type: type.split(";")[0] });
}

function drawPart(canvas, before, after, part) {
  const { width, height } = canvas;
  const context = canvas.getContext("2d");
  context.drawImage(before, 0, 0, width, height);
  const edge = Math.round(part * width);
  if (edge === 0) return;
  context.save();
  context.beginPath();
  context.rect(0, 0, edge, height);
  context.clip();
  context.drawImage(after, 0, 0, width, height);
  context.restore();
  context.fillStyle = "white";
  context.fillRect(edge - 2, 0, 4, height);
}
