import * as ort from "onnxruntime-web/wasm";
import { best, onImage, prepared } from "./pixels.js";

ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = { wasm: "ort-wasm-simd-threaded.wasm" }; // its other script is in this one
const labels = fetch("labels.json").then((response) => response.json());
const model = fetch("model.onnx").then((response) => response.arrayBuffer());
const ready = model.then((bytes) => ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] }));
onImage(async (file) => {
  const size = 227, image = await prepared(file, size, true), session = await ready;
  const found = await session.run({ [session.inputNames[0]]: new ort.Tensor("float32", image, [1, 3, size, size]) });
  return best(found[session.outputNames[0]].data, await labels);
});
