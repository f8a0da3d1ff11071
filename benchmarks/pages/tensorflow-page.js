import { best, onImage, prepared } from "./pixels.js";
import { run, start, weightsOf } from "./tensorflow.js";

const model = fetch("model.bin"), about = fetch("network.json").then((response) => response.json());
const ready = (async () => {
  await start("./");
  const network = await about;
  return { ...network, weights: weightsOf(network.layers, await (await model).arrayBuffer()) };
})();
onImage(async (file) => {
  const size = 227, image = await prepared(file, size, false), { layers, labels, weights } = await ready;
  return best(run(layers, weights, image, size), labels);
});
