/* The page: takes images, shows answers. worker.js classifies. */
import { hasSimd } from "./squeezenet.js";

const at = (id) => document.getElementById(id);
const status = at("status"), models = JSON.parse(at("list").textContent), number = new Intl.NumberFormat("en");
const worker = new Worker("worker.js", { type: "module" }), engine = hasSimd() ? "engine.wasm" : "engine-scalar.wasm";
const shown = []; // per model: its elements
let images = 0, open = models.length, best = [];

worker.onmessage = ({ data }) => answer(data);
worker.onerror = () => (status.textContent = "This browser cannot run the models: it needs WebAssembly and module workers.");

/* The page asks for the files, not the worker: it does so before the worker has started, and index.html still earlier. */
async function bytesOf(address) {
  const response = await fetch(address);
  if (!response.ok) throw new Error(`${address}: HTTP ${response.status}`);
  return response.arrayBuffer();
}

const compiled = bytesOf(engine).then((bytes) => WebAssembly.compile(bytes));
for (const [index, { file }] of models.entries())
  Promise.all([bytesOf(file), compiled]).then(
    ([bytes, engine]) => worker.postMessage({ index, bytes, engine }, [bytes]),
    (error) => worker.postMessage({ index, error: error.message }),
  );

for (const [index, { name, bytes, about, files }] of models.entries()) {
  const part = at("model").content.cloneNode(true), [title, figures, list] = ["h2", ".figures", "ol"].map((one) => part.querySelector(one));
  title.textContent = name;
  list.ariaLabel = `Best classes of ${name}`;
  figures.textContent = `${number.format(bytes)} bytes`;
  for (const [key, value] of Object.entries(about)) {
    const [term, text] = ["dt", "dd"].map((one) => document.createElement(one));
    [term.textContent, text.textContent] = [key, value];
    part.querySelector("dl").append(term, text);
  }
  for (const file of files) {
    const link = Object.assign(document.createElement("a"), { href: file, textContent: file.split("/").pop() });
    part.querySelector(".files").append(link, " ");
  }
  shown[index] = { figures, list, bytes, name };
  at("models").append(part);
}

function see(image) {
  if (!image) return;
  images += 1;
  best = [];
  open = models.length;
  status.textContent = "Classifying …";
  URL.revokeObjectURL(at("image").src);
  at("image").src = URL.createObjectURL(image);
  at("image").alt = image.name ? `Your image, ${image.name}` : "Your image";
  at("image").hidden = false;
  for (const { list } of shown) list.replaceChildren();
  worker.postMessage({ image, number: images });
}

function answer({ index, number: of, loaded, error, milliseconds, found }) {
  if (of === undefined ? images > 0 : of !== images) return; // about loading, or about an earlier image
  const { figures, list, bytes, name } = shown[index], title = models.length > 1 ? `${name}: ` : "";
  if (error) {
    figures.textContent = error;
    best.push(title + error);
  } else if (!loaded) {
    figures.textContent = `${number.format(bytes)} bytes, ${milliseconds.toFixed(0)} ms`;
    list.replaceChildren(...found.map(row));
    best.push(`${title}${found[0].label}, ${percent(found[0].probability)}`);
  }
  if (--open > 0) return;
  status.textContent = best.length ? best.join(" · ") : "Ready.";
  offline();
}

/* Last, so that nothing waits for it. The service worker then keeps all files, which the browser has in its cache. */
function offline() {
  navigator.serviceWorker?.register(`offline.js?${engine}`).catch(() => {}); // without it the page works, but not offline
}

const percent = (probability) => `${(100 * probability).toFixed(1)}%`;

function row({ label, probability }) {
  const item = document.createElement("li"), bar = document.createElement("i");
  bar.style.width = percent(probability);
  item.append(bar, ...[label, percent(probability)].map((textContent) => Object.assign(document.createElement("span"), { textContent })));
  return item;
}

const pick = (items) => [...items].find((file) => file.type.startsWith("image/")) ?? items[0];
for (const id of ["file", "photo"])
  at(id).addEventListener("change", (event) => {
    see(event.target.files[0]);
    event.target.value = ""; // the same file can be chosen again
  });
document.addEventListener("paste", (event) => see(pick(event.clipboardData.files)));
for (const kind of ["dragenter", "dragover", "dragleave", "drop"])
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", kind === "dragenter" || kind === "dragover");
    if (kind === "drop") see(pick(event.dataTransfer.files));
  });
