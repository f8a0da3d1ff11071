/* From an image file to the numbers that SqueezeNet reads, by a canvas; and the best label. */
const MEAN = [104, 117, 123]; // B G R

/** Calls `see` with a file of the page's input, and shows the label that it promises. */
export function onImage(see) {
  const input = document.getElementById("file");
  input.addEventListener("change", async () => (document.getElementById("status").textContent = await see(input.files[0])));
}

/** The image stretched to 256 x 256, its middle `size` x `size`, as floats: rows of B G R, or three planes. */
export async function prepared(file, size, planes) {
  const bitmap = await createImageBitmap(file), canvas = new OffscreenCanvas(size, size);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const margin = (256 - size) >> 1;
  context.drawImage(bitmap, -margin, -margin, 256, 256);
  const { data } = context.getImageData(0, 0, size, size), count = size * size;
  const values = new Float32Array(3 * count), [pixel, channel] = planes ? [1, count] : [3, 1];
  for (let i = 0; i < count; i++)
    for (let c = 0; c < 3; c++) values[i * pixel + c * channel] = data[4 * i + 2 - c] - MEAN[c];
  return values;
}

export const best = (logits, labels) => labels[logits.indexOf(Math.max(...logits))];
