/* Loads the models, and classifies images with all of them. */
import { load } from "./squeezenet.js";

const models = []; // promises
let image, newest = 0;

onmessage = ({ data }) => {
  if (data.index === undefined) {
    ({ image, number: newest } = data);
    see(newest, Object.keys(models).map(Number)); // those that are here now; each later one asks for itself
    return;
  }
  const { index, bytes, engine, error } = data;
  models[index] = error ? Promise.reject(new Error(error)) : load(bytes, { engine });
  models[index].then(() => postMessage({ index, loaded: true }), (error) => postMessage({ index, error: error.message }));
  if (image) see(newest, [index]); // the image was here before the model
};

async function see(number, indices) {
  for (const index of indices) {
    if (number !== newest) return; // a later image has come
    try {
      const model = await models[index], start = performance.now();
      const found = await model.classify(image);
      postMessage({ index, number, found, milliseconds: performance.now() - start });
    } catch (error) {
      postMessage({ index, number, error: error.message });
    }
  }
}
