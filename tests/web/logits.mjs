// Writes the logits of each case as float32: node logits.mjs MODULE FOLDER, which has cases.json.
import { readFile, writeFile } from "node:fs/promises";

const [, , module, folder] = process.argv;
const { load } = await import(module);
const cases = JSON.parse(await readFile(`${folder}/cases.json`, "utf8"));
for (const { model, pixels, prepared, width, height, simd, out } of cases) {
  const network = await load(`${folder}/${model}`, { simd });
  const bytes = new Uint8Array(await readFile(`${folder}/${pixels ?? prepared}`));
  const logits = pixels ? await network.logits({ data: bytes, width, height }) : network.logitsOfPrepared(new Float32Array(bytes.buffer));
  await writeFile(`${folder}/${out}`, new Uint8Array(logits.buffer));
}
