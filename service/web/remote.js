/** Calls functions of a worker. If the worker crashes or is ended, its open calls are rejected. */

/** `code` is "cancelled", "crashed", "memory", "undecodable", "unreachable", "key", "refused" or "failed". */
export class Failure extends Error {
  constructor(code, message = code) {
    super(message);
    this.code = code;
  }
}

export class Remote {
  #worker = null;
  #address;
  #calls = new Map();
  #last = 0;

  /** `address` is that of a module worker, which starts with the first call. */
  constructor(address) {
    this.#address = address;
  }

  get busy() {
    return this.#calls.size > 0;
  }

  /** Calls the worker's function `name` with `argument`, and resolves with its result. Rejects with Failure. */
  call(name, argument, { onProgress = () => {}, transfer = [] } = {}) {
    this.#worker ??= this.#start();
    const id = ++this.#last;
    return new Promise((resolve, reject) => {
      this.#calls.set(id, { resolve, reject, onProgress });
      this.#worker.postMessage({ id, name, argument }, transfer);
    });
  }

  /** Ends the worker at once; the next call starts another. */
  end(code = "cancelled") {
    this.#worker?.terminate();
    this.#worker = null;
    const calls = [...this.#calls.values()];
    this.#calls.clear();
    for (const { reject } of calls) reject(new Failure(code));
  }

  #start() {
    const worker = new Worker(this.#address, { type: "module" });
    worker.onmessage = ({ data: { id, progress, result, failure } }) => {
      const call = this.#calls.get(id);
      if (!call) return;
      if (progress) return call.onProgress(progress);
      this.#calls.delete(id);
      if (failure) call.reject(new Failure(failure.code, failure.message));
      else call.resolve(result);
    };
    worker.onerror = (event) => {
      event.preventDefault();
      this.end("crashed");
    };
    return worker;
  }
}

/** Used in a worker: answers calls with `functions`, by name, one after another. Each gets its argument and a function that reports
 * progress. It returns a result, or [result, objects to transfer]. */
export function answer(functions) {
  let turn = Promise.resolve();
  const run = async ({ id, name, argument }) => {
    try {
      const returned = await functions[name](argument, (progress) => postMessage({ id, progress }));
      const [result, transfer] = Array.isArray(returned) ? returned : [returned, []];
      postMessage({ id, result }, transfer);
    } catch (error) {
      postMessage({ id, failure: { code: error.code && typeof error.code === "string" ? error.code : kindOf(error), message: String(error?.message ?? error) } });
    }
  };
  addEventListener("message", ({ data }) => (turn = turn.then(() => run(data))));
}

/** WebAssembly reports a lack of memory in several ways. A bare number is a C++ exception, usually bad_alloc. */
function kindOf(error) {
  const text = String(error?.message ?? error);
  const isMemory = error instanceof RangeError || typeof error === "number" || /memory|bad_alloc|allocat|out of bounds/i.test(text);
  return isMemory ? "memory" : "failed";
}
