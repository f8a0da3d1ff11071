/* Image classifiers of squeezenet (.sqz files) in browsers, workers, extensions and Node.
 *
 *     import { load } from "sqznet";
 *     const model = await load("model.sqz");
 *     const [best] = await model.classify(image);     // { label, index, probability }
 *
 * The engine is C, compiled to WebAssembly (engine.wasm, or engine-scalar.wasm where there is no SIMD). */

/** A module of WebAssembly with one SIMD instruction: () => i8x16.splat(0), and its first lane. */
const SIMD = Uint8Array.of(
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 127, 3, 2, 1, 0, 10, 11, 1, 9, 0, 65, 0, 253, 15, 253, 22, 0, 11);

const TOO_LITTLE_MEMORY = "not enough memory";
const ERRORS = {
  1: TOO_LITTLE_MEMORY,
  [-1]: "the file, or a stream in it, ends too early; fetch it again",
  [-2]: "the file, or a stream in it, goes on after its end; fetch it again",
  [-5]: "not a .sqz file: it does not begin with the magic bytes",
  [-6]: "a version or a flag that this engine does not know; get a newer one",
  [-7]: "not the bytes that were written; fetch the file again",
  [-8]: "a graph that no writer could have written",
  [-10]: "more memory or time than a file of its size may ask for",
};
const MOST_PIXELS = 1 << 28;

/** What goes wrong with a file or an image; its message is one line. */
export class SqueezeNetError extends Error {
  name = "SqueezeNetError";
}

/** Whether this machine runs the SIMD instructions of WebAssembly. */
export const hasSimd = () => WebAssembly.validate(SIMD);

const modules = new Map(); // address -> promise of a compiled engine

function engine(source, simd) {
  if (source instanceof WebAssembly.Module) return source;
  if (source !== undefined && typeof source !== "string" && !(source instanceof URL)) return WebAssembly.compile(source);
  const address = source ?? (simd ? new URL("engine.wasm", import.meta.url) : new URL("engine-scalar.wasm", import.meta.url));
  const key = String(address);
  if (!modules.has(key)) {
    const compiled = bytesOf(address).then((bytes) => WebAssembly.compile(bytes));
    compiled.catch(() => modules.delete(key)); // a later call tries again
    modules.set(key, compiled);
  }
  return modules.get(key);
}

async function bytesOf(source) {
  if (source instanceof ArrayBuffer) return new Uint8Array(source);
  if (ArrayBuffer.isView(source)) return new Uint8Array(source.buffer, source.byteOffset, source.byteLength);
  if (source instanceof Blob) return new Uint8Array(await source.arrayBuffer());
  if (source instanceof Response) return fetched(source);
  const files = globalThis.process?.getBuiltinModule?.("node:fs/promises");
  const isWeb = /^(https?|data|blob|chrome-extension|moz-extension|safari-web-extension):/i.test(String(source));
  if (files && !isWeb) return new Uint8Array(await files.readFile(String(source).startsWith("file:") ? new URL(source) : source));
  return fetched(await fetch(source));
}

async function fetched(response) {
  if (!response.ok) throw new SqueezeNetError(`${response.url}: HTTP ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}

/** Load a model: an address, the bytes of a .sqz file, a Blob or a Response. */
export async function load(source, options = {}) {
  const simd = options.simd ?? hasSimd();
  const [bytes, compiled] = await Promise.all([bytesOf(source), engine(options.engine, simd)]);
  const { exports } = await WebAssembly.instantiate(compiled);
  return new Model(exports, bytes);
}

class Model {
  #engine;
  #busy = Promise.resolve(); // images take turns: rows of one must not mix with those of another

  constructor(engine, bytes) {
    const at = engine.file(bytes.length) >>> 0;
    if (at === 0) throw new SqueezeNetError(TOO_LITTLE_MEMORY);
    new Uint8Array(engine.memory.buffer).set(bytes, at);
    const status = engine.load(bytes.length);
    if (status !== 0) throw new SqueezeNetError(ERRORS[status] ?? "a stream contradicts itself or the graph");
    this.#engine = engine;
    this.bytes = bytes.length;
    this.outputs = engine.outputs() ? "labels" : "classes";
    const [channels, height, width] = new Uint32Array(engine.memory.buffer, engine.shape() >>> 0, 3);
    this.input = Object.freeze({ channels, height, width });
    const memory = new Uint8Array(engine.memory.buffer), utf8 = new TextDecoder();
    this.labels = Object.freeze(Array.from({ length: engine.classes() }, (_, index, start = engine.label(index) >>> 0) => {
      if (start === 0) return engine.classes() > 1 ? String(index) : "positive";
      return utf8.decode(memory.subarray(start, memory.indexOf(0, start)));
    }));
    const path = engine.path() >>> 0;
    this.path = utf8.decode(memory.subarray(path, memory.indexOf(0, path)));
    Object.freeze(this);
  }

  /** The `top` most probable classes, the best first. */
  async classify(image, { top = 5 } = {}) {
    const found = probabilities(await this.logits(image), this.outputs);
    const best = Array.from(found.keys()).sort((a, b) => found[b] - found[a] || a - b).slice(0, top);
    return best.map((index) => ({ label: this.labels[index], index, probability: found[index] }));
  }

  /** The logits of an image, in the order of `labels`. */
  logits(image) {
    const result = this.#busy.then(() => this.#see(image));
    this.#busy = result.catch(() => {});
    return result;
  }

  /** The logits of a prepared image: channels x height x width floats. */
  logitsOfPrepared(values) {
    const { channels, height, width } = this.input;
    if (values.length !== channels * height * width) throw new SqueezeNetError("a prepared image of another size");
    const at = this.#engine.prepared() >>> 0;
    if (at === 0) throw new SqueezeNetError(TOO_LITTLE_MEMORY);
    new Float32Array(this.#engine.memory.buffer, at, values.length).set(values);
    return this.#result(this.#engine.run());
  }

  async #see(image) {
    const source = await pixelsOf(image);
    try {
      const at = this.#engine.start(source.width, source.height) >>> 0;
      if (at === 0) throw new SqueezeNetError(`an image of ${source.width} x ${source.height} pixels: ${TOO_LITTLE_MEMORY}`);
      const [left, top, right, bottom] = new Uint32Array(this.#engine.memory.buffer, this.#engine.box() >>> 0, 4);
      const most = this.#engine.strip_rows();
      for (let y = top; y < bottom; y += most) {
        const count = Math.min(most, bottom - y), row = 4 * (right - left);
        source.copy(new Uint8Array(this.#engine.memory.buffer, at, count * row), left, y, right - left, count);
        this.#engine.rows(count);
      }
      return this.#result(this.#engine.run_pixels());
    } finally {
      source.close();
    }
  }

  #result(at) {
    if (at === 0) throw new SqueezeNetError(TOO_LITTLE_MEMORY);
    const logits = new Float32Array(this.#engine.memory.buffer, at >>> 0, this.labels.length).slice();
    if (!logits.every(Number.isFinite)) throw new SqueezeNetError("the network gives values that are not numbers");
    return logits;
  }
}

export function probabilities(logits, outputs) {
  if (outputs === "labels") return Float64Array.from(logits, (x) => (x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x))));
  const largest = logits.reduce((a, b) => Math.max(a, b)), powers = Float64Array.from(logits, (x) => Math.exp(x - largest));
  const total = powers.reduce((a, b) => a + b);
  return powers.map((x) => x / total);
}

/** An image as { width, height, copy(target, left, top, width, height), close() }; pixels are R G B A. */
async function pixelsOf(image) {
  if (image?.data !== undefined) return fromData(image);
  if (typeof createImageBitmap !== "function")
    throw new SqueezeNetError("no decoder of images here; give { data, width, height } with R G B A or R G B");
  let bitmap;
  try {
    // No conversion of colours: the numbers in the file, as Python reads them.
    bitmap = await createImageBitmap(image, { colorSpaceConversion: "none", imageOrientation: "from-image" });
  } catch {
    throw new SqueezeNetError("not an image that this browser can decode");
  }
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  const { width, height } = bitmap;
  bitmap.close();
  return {
    width,
    height,
    copy: (target, ...box) => target.set(context.getImageData(...box).data),
    close: () => ([canvas.width, canvas.height] = [0, 0]), // gives the memory back at once
  };
}

function fromData({ data, width, height }) {
  const samples = data.length / (width * height);
  if (!(width > 0 && height > 0 && width * height <= MOST_PIXELS) || ![1, 3, 4].includes(samples))
    throw new SqueezeNetError("width x height do not fit the bytes in `data`: R G B A, R G B, or grey");
  const copy = (target, left, top, columns, rows) => {
    for (let y = 0; y < rows; y++) {
      const from = ((top + y) * width + left) * samples, to = y * columns * 4;
      if (samples === 4) target.set(data.subarray(from, from + columns * 4), to);
      else
        for (let x = 0; x < columns; x++) {
          for (let c = 0; c < 3; c++) target[to + 4 * x + c] = data[from + samples * x + (samples === 3 ? c : 0)];
          target[to + 4 * x + 3] = 255;
        }
    }
  };
  return { width, height, copy, close: () => {} };
}
