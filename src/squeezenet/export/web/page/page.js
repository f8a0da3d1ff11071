/* The page: takes images, shows answers. worker.js classifies. */
const at = (id) => document.getElementById(id);
const status = at("status"), worker = new Promise((done) => start(done));
const shown = []; // per model: its elements
let images = 0, open = 0, best = [];

async function start(done) {
  await offline();
  const found = new Worker("worker.js", { type: "module" });
  found.onmessage = ({ data }) => answer(data);
  found.onerror = () => (status.textContent = "This browser cannot run the models: it needs WebAssembly and module workers.");
  done(found);
}

/* Large files then come through the service worker, which keeps them: they are downloaded once. */
async function offline() {
  if (!("serviceWorker" in navigator)) return;
  try {
    await navigator.serviceWorker.register("offline.js");
    if (navigator.serviceWorker.controller) return;
    const taken = new Promise((done) => navigator.serviceWorker.addEventListener("controllerchange", done, { once: true }));
    await Promise.race([taken, new Promise((done) => setTimeout(done, 1500))]);
  } catch {
    // without it the page works, but not offline
  }
}

const models = await (await fetch("models.json")).json();
const number = new Intl.NumberFormat("en");
for (const [index, { name, bytes, about, files }] of models.entries()) {
  const part = at("model").content.cloneNode(true), [title, figures, list] = ["h2", ".figures", "ol"].map((one) => part.querySelector(one));
  title.textContent = name;
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
  shown[index] = { figures, list, bytes };
  at("models").append(part);
}
open = models.length;
worker.then((it) => models.forEach(({ file }, index) => it.postMessage({ index, address: new URL(file, location.href).href })));

async function see(image) {
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
  (await worker).postMessage({ image, number: images });
}

function answer({ index, number: of, loaded, error, milliseconds, found }) {
  if (of !== undefined && of !== images) return; // another image was given meanwhile
  const { figures, list, bytes } = shown[index];
  if (error) {
    figures.textContent = error;
    best.push(error);
  } else if (loaded) {
    if (images) return;
  } else {
    figures.textContent = `${number.format(bytes)} bytes, ${milliseconds.toFixed(0)} ms`;
    list.replaceChildren(...found.map(row));
    best.push(`${found[0].label}, ${percent(found[0].probability)}`);
  }
  if (--open > 0) return;
  status.textContent = best.length ? best.join(" · ") : "Ready.";
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
