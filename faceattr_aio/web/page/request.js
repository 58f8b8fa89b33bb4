// One picture to the server and its answer back, or a Failure.

export class Failure extends Error {
  // `kind` is the problem's type without its prefix; `waitMs` is set where the same request may succeed later.
  constructor(kind, status, problem = {}, retryAfter = null) {
    super(problem.detail ?? kind);
    this.kind = kind;
    this.status = status;
    this.problem = problem;
    this.waitMs = problem.retry_after_ms ?? (retryAfter ? retryAfter * 1000 : null);
  }
}

// Resolves to { json | blob, timing, type }. `report` is told the share of the bytes that were sent, 0 to 1.
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
    // a proxy has answered
  }
  const kind = (problem.type ?? "").replace("urn:faceattr:", "") || (xhr.status === 413 ? "upload-too-large" : "other");
  return new Failure(kind, xhr.status, problem, Number(xhr.getResponseHeader("Retry-After")) || null);
}

// [[name, ms], ...] of a Server-Timing header.
export function stages(header) {
  return [...header.matchAll(/([\w-]+);dur=([\d.]+)/g)].map(([, name, ms]) => [name, Number(ms)]);
}

// At most `most` tasks at a time; the others wait in line.
export class Lanes {
  constructor(most) {
    this.free = most;
    this.line = [];
  }

  async run(task) {
    if (this.free > 0) this.free -= 1;
    else await new Promise((resolve) => this.line.push(resolve));
    try {
      return await task();
    } finally {
      if (this.line.length) this.line.shift()();
      else this.free += 1;
    }
  }
}
