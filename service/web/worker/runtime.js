/** ONNX Runtime in this worker: on WebGPU if the browser has it, otherwise in WebAssembly, with threads if they are allowed. */

import { bytes } from "../cache.js";

const WASM = { module: "ort.wasm.bundle.min.mjs", binary: "ort-wasm-simd-threaded.wasm", size: 14_239_897 };
const WEBGPU = { module: "ort.jspi.bundle.min.mjs", binary: "ort-wasm-simd-threaded.jspi.wasm", size: 16_758_545 };

/** Whether there is a real GPU and the browser can wait for it inside WebAssembly. A software GPU is slower than the CPU. */
async function hasGpu() {
  if (!navigator.gpu || !("Suspending" in WebAssembly)) return false;
  const adapter = await navigator.gpu.requestAdapter().catch(() => null);
  return Boolean(adapter) && !(adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter);
}

/** `device`: "webgpu", "wasm" or "auto". */
export async function load({ vendor, suffix, device }, onProgress) {
  const onGpu = device === "webgpu" || (device === "auto" && (await hasGpu()));
  const { module, binary, size } = onGpu ? WEBGPU : WASM;
  const [ort, wasmBinary] = await Promise.all([
    import(new URL(module, vendor).href),
    bytes(new URL(binary + suffix, vendor).href, { size, onProgress }),
  ]);
  ort.env.wasm.wasmBinary = wasmBinary.buffer;
  ort.env.logLevel = "error";
  return new Runtime(ort, onGpu ? "webgpu" : "wasm");
}

class Runtime {
  #ort;
  #sessions = new Map();

  constructor(ort, device) {
    this.#ort = ort;
    this.device = device;
  }

  /** ONNX Runtime's own choice, known once a session is open: half the cores, at most 4, or 1 if the page may not use threads. */
  get threads() {
    return this.#ort.env.wasm.numThreads;
  }

  /** Opens a session for a file of GET /directions, once. */
  session({ url, size, sha256 }, headers, onProgress) {
    if (!this.#sessions.has(url)) {
      const opening = bytes(url, { size, sha256, headers, onProgress }).then((graph) => this.#open(graph));
      this.#sessions.set(url, opening);
      opening.catch(() => this.#sessions.delete(url));
    }
    return this.#sessions.get(url);
  }

  #open(graph) {
    const executionProviders = this.device === "webgpu" ? ["webgpu", "wasm"] : ["wasm"];
    return this.#ort.InferenceSession.create(graph, { executionProviders, enableMemPattern: false, logSeverityLevel: 3 });
  }

  /** Paints one RGBA picture with valid sides. Pass `statistics` only to graphs that have that input. */
  async run(session, picture, statistics) {
    const { width, height } = picture;
    const inputs = { pictures: new this.#ort.Tensor("uint8", withoutAlpha(picture.data), [1, height, width, 3]) };
    if (statistics) inputs.statistics = new this.#ort.Tensor("float32", statistics, [1, statistics.length]);
    const result = await session.run(inputs);
    const painted = { width, height, data: withAlpha(result.translations.data) };
    return { painted, statistics: result.used_statistics?.data };
  }

  /** Statistics of NaN, which make a graph use the picture's own. */
  noStatistics(session) {
    const { shape } = session.inputMetadata.find(({ name }) => name === "statistics");
    return new Float32Array(shape[1]).fill(NaN);
  }
}

function withoutAlpha(data) {
  const result = new Uint8Array((data.length / 4) * 3);
  for (let from = 0, to = 0; from < data.length; from += 4) {
    result[to++] = data[from];
    result[to++] = data[from + 1];
    result[to++] = data[from + 2];
  }
  return result;
}

function withAlpha(data) {
  const result = new Uint8ClampedArray((data.length / 3) * 4).fill(255);
  for (let from = 0, to = 0; from < data.length; to += 4) {
    result[to] = data[from++];
    result[to + 1] = data[from++];
    result[to + 2] = data[from++];
  }
  return result;
}
