// Sends the chosen image to the API and shows its answer. All text is set as text, never as HTML.
const [model, image, status, labels] = ["model", "image", "status", "labels"].map((id) => document.getElementById(id));

async function json(address, options) {
  const response = await fetch(address, options);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

async function classify() {
  const [file] = image.files;
  if (!file) return;
  status.textContent = "…";
  labels.replaceChildren();
  try {
    const headers = { "Content-Type": "application/octet-stream" };
    const path = `v1/models/${encodeURIComponent(model.value)}/classify`;
    const answer = await json(path, { method: "POST", body: file, headers });
    for (const { label, probability } of answer.predictions) {
      const row = labels.insertRow();
      row.insertCell().textContent = label;
      row.insertCell().textContent = `${(100 * probability).toFixed(1)}%`;
    }
    status.textContent = `${file.name}: ${answer.milliseconds} ms`;
  } catch (error) {
    status.textContent = error.message;
  }
}

for (const { name } of (await json("v1/models")).models) model.add(new Option(name));
model.addEventListener("change", classify);
image.addEventListener("change", classify);
