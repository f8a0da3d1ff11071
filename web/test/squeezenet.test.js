import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import test from "node:test";

import { hasSimd, load, probabilities, SqueezeNetError } from "sqznet"; // by its own package.json

const golden = new URL("../../tests/golden/", import.meta.url);
const file = await readFile(new URL("integers_v2.sqz", golden));
const grey = (value, width, height) => ({ data: new Uint8ClampedArray(4 * width * height).fill(255).map((byte, i) => (i % 4 < 3 ? value : byte)), width, height });

for (const simd of hasSimd() ? [true, false] : [false])
  test(`loads from a path, an address, bytes, a Blob and a Response; simd: ${simd}`, async () => {
    const path = new URL("integers_v2.sqz", golden);
    let expected;
    for (const source of [path, path.pathname, file, file.buffer.slice(file.byteOffset, file.byteOffset + file.length), new Blob([file]), new Response(file)]) {
      const model = await load(source, { simd });
      assert.equal(model.bytes, file.length);
      assert.equal(model.path, simd ? "simd128" : "scalar");
      const logits = await model.logits(grey(90, 40, 30));
      assert.deepEqual(logits, (expected ??= logits));
      const found = await model.classify(grey(90, 40, 30), { top: 2 });
      assert.equal(found.length, 2);
      assert.ok(found[0].probability >= found[1].probability);
      assert.equal(found[0].label, model.labels[found[0].index]);
    }
  });

test("pixels as R G B A, R G B and grey are the same image", async () => {
  const model = await load(file);
  const sizes = [4, 3, 1].map((samples) => ({ data: new Uint8Array(50 * 20 * samples).fill(255), width: 50, height: 20 }));
  const [first, ...others] = await Promise.all(sizes.map((image) => model.logits(image)));
  for (const other of others) assert.deepEqual(other, first);
});

test("transparent pixels are white", async () => {
  const model = await load(file);
  const clear = { ...grey(0, 20, 20), data: new Uint8ClampedArray(1600) };
  assert.deepEqual(await model.logits(clear), await model.logits(grey(255, 20, 20)));
});

test("every damaged file is refused with one line", async () => {
  const refused = (bytes) => assert.rejects(load(bytes), (error) => error instanceof SqueezeNetError && /^[^\n]{10,}$/.test(error.message));
  await refused(new Uint8Array());
  await refused(new TextEncoder().encode("<!doctype html> not found"));
  for (let length = 0; length < file.length; length += 7) await refused(file.subarray(0, length));
  for (let at = 0; at < file.length; at += 5) await refused(file.map((byte, i) => (i === at ? byte ^ 64 : byte)));
});

test("impossible images are refused", async () => {
  const model = await load(file);
  const data = new Uint8Array(16);
  for (const image of [{ data, width: 0, height: 4 }, { data, width: 3, height: 3 }, { data, width: -2, height: -2 }, new Blob(["x"]), null])
    await assert.rejects(model.classify(image), SqueezeNetError);
  await model.classify({ data, width: 2, height: 2 }); // and a later one is still classified
});

test("probabilities", () => {
  assert.deepEqual([...probabilities(Float32Array.of(3, 3), "classes")], [0.5, 0.5]);
  assert.deepEqual([...probabilities(Float32Array.of(0, 100, -100), "labels")].map((x) => Math.round(x)), [1, 1, 0]);
});
