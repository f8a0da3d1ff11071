/* Loads the models, and classifies images with all of them. */
import { load } from "./squeezenet.js";

const models = []; // promises
let newest = 0;

onmessage = async ({ data: { index, address, image, number } }) => {
  if (address) {
    models[index] = load(address);
    models[index].then(() => postMessage({ index, loaded: true }), (error) => postMessage({ index, error: error.message }));
    return;
  }
  newest = number;
  for (const [at, promise] of models.entries()) {
    if (number !== newest) return; // a later image has come
    try {
      const model = await promise, start = performance.now();
      const found = await model.classify(image);
      postMessage({ index: at, number, found, milliseconds: performance.now() - start });
    } catch (error) {
      postMessage({ index: at, number, error: error.message });
    }
  }
};
