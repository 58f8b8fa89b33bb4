// Sends one picture and returns the answer, or throws a Failure.

export class Failure extends Error {
  // `kind` is the type of the problem without its prefix; `waitMs` is set when a retry may succeed.
  constructor(kind, status, problem = {}, retryAfter = null) {
    super(problem.detail ?? kind);
    this.kind = kind;
    this.status = status;
    this.problem = problem;
    this.waitMs = problem.retry_after_ms ?? (retryAfter ? retryAfter * 1000 : null);
  }
}

// Resolves to { json | blob, timing, type }. `report` is called with the share of the bytes sent, 0 to 1.
export function send(url, file, { accept, key, report = () => {}, signal }) {
  return new Promise((resolve, reject) => {
    const xhr = new XMLHttpRequest();
    xhr.open("POST", url);
    xhr.responseType = "blob";
    xhr.setRequestHeader("Accept", accept);
    xhr.setRequestHeader("Content-Type", file.type.startsWith("image/") ? file.type : "application/octet-stream");
    if (key) xhr.setRequestHeader("Authorization", `Bearer ${key}`);
    xhr.upload.onprogress = (event) => report(event.loaded / event.total);
    xhr.onload = () => read(xhr).then(resolve, reject);
    xhr.onerror = () => reject(new Failure("network", 0));
    xhr.onabort = () => reject(new DOMException("", "AbortError"));
    signal?.addEventListener("abort", () => xhr.abort());
    xhr.send(file);
  });
}

async function read(xhr) {
  const type = (xhr.getResponseHeader("Content-Type") ?? "").split(";")[0];
  if (xhr.status >= 400) throw await asFailure(xhr);
  const timing = stages(xhr.getResponseHeader("Server-Timing") ?? "");
  if (type === "application/json") return { json: JSON.parse(await xhr.response.text()), timing, type };
  return { blob: xhr.response, timing, type };
}

async function asFailure(xhr) {
  let problem = {};
  try {
    problem = JSON.parse(await xhr.response.text());
  } catch {
    // the answer is from a proxy
  }
  const kind = (problem.type ?? "").replace("urn:faceattr:", "") || (xhr.status === 413 ? "upload-too-large" : "other");
  return new Failure(kind, xhr.status, problem, Number(xhr.getResponseHeader("Retry-After")) || null);
}

// Parses a Server-Timing header into [[name, ms], ...].
export function stages(header) {
  return [...header.matchAll(/([\w-]+);dur=([\d.]+)/g)].map(([, name, ms]) => [name, Number(ms)]);
}

// Runs at most `limit` tasks at a time; the others wait in a queue.
export class Queue {
  constructor(limit) {
    this.free = limit;
    this.waiting = [];
  }

  async run(task) {
    if (this.free > 0) this.free -= 1;
    else await new Promise((resolve) => this.waiting.push(resolve));
    try {
      return await task();
    } finally {
      if (this.waiting.length) this.waiting.shift()();
      else this.free += 1;
    }
  }
}
