/* A service worker: the page works without a network after the first visit. */
const CACHE = "squeezenet-@SCOPE@-@VERSION@", ENGINE = location.search.slice(1), PAGE = @FILES@;

self.addEventListener("install", (event) => {
  self.skipWaiting();
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll([...PAGE, ENGINE].map(checked))));
});

/* The browser asks the server whether the file in its own cache is still the newest one. */
const checked = (file) => new Request(file, { cache: "no-cache" });

self.addEventListener("activate", (event) => {
  const older = async () => (await caches.keys()).filter((key) => key.startsWith("squeezenet-@SCOPE@-") && key !== CACHE);
  event.waitUntil(older().then((keys) => Promise.all(keys.map((key) => caches.delete(key)))).then(() => self.clients.claim()));
});

self.addEventListener("fetch", (event) => {
  if (event.request.method === "GET" && event.request.url.startsWith(self.registration.scope)) event.respondWith(kept(event.request));
});

async function kept(request) {
  const cache = await caches.open(CACHE), found = await cache.match(request, { ignoreSearch: true });
  if (found) return found;
  const response = await fetch(request);
  if (response.ok) await cache.put(request, response.clone());
  return response;
}
