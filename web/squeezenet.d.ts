/** Pixels from top to bottom: R G B A, R G B, or grey. `ImageData` has this form. */
export interface Pixels {
  readonly data: Uint8Array | Uint8ClampedArray;
  readonly width: number;
  readonly height: number;
}

/** What `createImageBitmap` takes is decoded by the browser: Blob, File, ImageBitmap, elements, canvases, VideoFrame. */
export type Image = Pixels | ImageBitmapSource;

export interface Prediction {
  readonly label: string;
  /** The number of the class or label. */
  readonly index: number;
  /** From 0 to 1. */
  readonly probability: number;
}

export interface Model {
  /** Of the .sqz file. */
  readonly bytes: number;
  /** Names of the classes, in the order of the logits; their numbers if the model has no names. */
  readonly labels: readonly string[];
  /** "classes": exactly one is right, and the probabilities add up to 1. "labels": each is a yes (over 0.5) or a no. */
  readonly outputs: "classes" | "labels";
  /** The image that the network reads. */
  readonly input: { readonly channels: number; readonly height: number; readonly width: number };
  /** The instructions that compute the network. */
  readonly path: "simd128" | "scalar";
  /** The `top` (default: 5) most probable classes, the best first. */
  classify(image: Image, options?: { top?: number }): Promise<Prediction[]>;
  /** The logits: the values before they become probabilities. */
  logits(image: Image): Promise<Float32Array>;
  /** The logits of a prepared image: channels x height x width floats. */
  logitsOfPrepared(values: ArrayLike<number>): Float32Array;
}

/** A file or an image that cannot be used. The message is one line. */
export class SqueezeNetError extends Error {}

export interface LoadOptions {
  /** Where engine.wasm is, or what is in it (default: beside this module). */
  engine?: string | URL | BufferSource | WebAssembly.Module;
  /** Whether to use SIMD (default: where the machine has it). */
  simd?: boolean;
}

/** Load a model: an address (in Node also a path), the bytes of a .sqz file, a Blob, or a Response. */
export function load(source: string | URL | BufferSource | Blob | Response, options?: LoadOptions): Promise<Model>;

/** Logits as probabilities: softmax for "classes", sigmoids for "labels". */
export function probabilities(logits: Float32Array, outputs: "classes" | "labels"): Float64Array;

/** Whether this machine runs the SIMD instructions of WebAssembly. */
export function hasSimd(): boolean;
