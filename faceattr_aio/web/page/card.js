// The card of one picture: its upload, waiting and retries, then the result or the failure.

import { Comparison } from "./compare.js";
import { make, save, say } from "./dom.js";
import { Boxes, Table } from "./faces.js";
import { Failure, send } from "./request.js";
import { skeleton } from "./skeleton.js";
import { failure, has, number, offLanguage, onLanguage, t } from "./strings.js";

const SHORTEST_WAIT_MS = 500;
const LONGEST_BACKOFF_MS = 30_000;
const LEAST_SHARE = 0.012;
let cards = 0;

export class Card {
  // `context` has `pipeline()`, `queue`, `key.value` and `key.ask()`.
  constructor(file, context) {
    this.file = file;
    this.context = context;
    this.pipeline = context.pipeline();
    this.url = URL.createObjectURL(file);
    this.leaving = new AbortController();
    this.#build();
    this.show = () => {};
    this.redraw = () => this.#translate();
    onLanguage(this.redraw);
    this.start();
  }

  // Sends the picture until there is a result or a permanent failure, or the card is closed.
  async start() {
    this.#set(() => [make("p.state", {}, t("queued"))]);
    try {
      const types = this.pipeline.types;
      const accept = types.includes("application/json") ? "application/json" : types[0];
      const answer = await this.context.queue.run(() => this.#persist(this.pipeline.url(), accept, "working"));
      this.#answer(answer);
    } catch (error) {
      this.#fail(error, () => this.start());
    }
  }

  close() {
    this.leaving.abort();
    this.boxes?.close();
    this.comparison?.close();
    offLanguage(this.redraw);
    URL.revokeObjectURL(this.url);
    this.element.remove();
  }

  #build() {
    const id = `card-${(cards += 1)}`;
    this.image = make("img", { src: this.url, alt: "" });
    this.canvas = make("div.canvas", {}, this.image);
    this.image.addEventListener("load", () => this.#shape(this.image.naturalWidth, this.image.naturalHeight));
    this.image.addEventListener("error", () => this.element.classList.add("blind"));
    this.remove = make("button.quiet.close", { type: "button", onclick: () => this.#leave() }, "×");
    this.state = make("div", {});
    this.result = make("div.result", {});
    this.element = make("article.card", { "aria-labelledby": id },
      make("header", {}, make("h3", { id }, this.file.name), make("span.muted.small", {}, bytes(this.file.size)), this.remove),
      make("figure.stage", {}, this.canvas),
      make("div.side", {}, this.state, this.result));
  }

  #shape(width, height) {
    this.canvas.style.setProperty("--ratio", width / height);
    this.canvas.style.setProperty("--natural", `${Math.max(width, 320)}px`);
  }

  #leave() {
    const next = this.element.nextElementSibling?.querySelector(".close") ?? document.getElementById("choose");
    this.close();
    next.focus();
  }

  // `draw` returns the elements of the state; it is called again when the language changes.
  #set(draw) {
    this.show = () => this.state.replaceChildren(...draw());
    this.show();
  }

  #translate() {
    this.remove.setAttribute("aria-label", t("remove", { name: this.file.name }));
    this.show();
    this.drawResult?.();
  }

  async #persist(url, accept, doing) {
    for (let tries = 1; ; tries += 1) {
      try {
        return await this.#once(url, accept, doing);
      } catch (error) {
        if (!(error instanceof Failure)) throw error;
        if (error.status === 401 && (await this.context.key.ask())) continue;
        if (error.waitMs === null || error.status === 401) throw error;
        const least = Math.min(SHORTEST_WAIT_MS * 2 ** (tries - 1), LONGEST_BACKOFF_MS) * (0.75 + Math.random() / 2);
        await this.#wait(error, Math.max(error.waitMs, least));
      }
    }
  }

  #once(url, accept, doing) {
    let share = 0;
    this.#set(() => [this.#progress(share, doing)]);
    const report = (sent) => {
      share = sent;
      this.show();
    };
    return send(url, this.file, { accept, key: this.context.key.value, report, signal: this.leaving.signal });
  }

  #progress(share, doing) {
    const label = share < 1 ? t("uploading", { percent: Math.floor(share * 100) }) : t(doing);
    const bar = make("progress", { max: 1, "aria-label": label });
    if (share < 1) bar.value = share;
    return make("div.state", {}, make("p", {}, label), bar);
  }

  // Counts down to the next try; rejects with the failure when the user stops it.
  #wait(error, ms) {
    const until = performance.now() + ms;
    const [title] = failure(error.kind, error);
    const left = () => Math.max(1, Math.ceil((until - performance.now()) / 1000));
    say(`${this.file.name}: ${title}. ${t("again_in", { seconds: left() })}`);
    return new Promise((resolve, reject) => {
      const end = (settle, value) => {
        clearInterval(ticking);
        settle(value);
      };
      const buttons = make("div.row", {},
        this.#button("now", () => end(resolve)), this.#button("stop", () => end(reject, error)));
      const count = make("p.count", {});
      const tick = () => {
        count.textContent = t("again_in", { seconds: left() });
        if (performance.now() >= until) end(resolve);
      };
      const ticking = setInterval(tick, 200);
      this.leaving.signal.addEventListener("abort", () => end(reject, new DOMException("", "AbortError")));
      this.#set(() => {
        buttons.replaceChildren(...[...buttons.children].map((button) => this.#reword(button)));
        tick();
        return [this.#notice("warning", error, [count, buttons])];
      });
    });
  }

  #button(key, onclick, kind = "button") {
    const button = make(kind, { type: "button", onclick }, t(key));
    button.dataset.t = key;
    return button;
  }

  #reword(button) {
    button.textContent = t(button.dataset.t);
    return button;
  }

  #notice(kind, error, more) {
    const [title, advice] = failure(error.kind, error);
    const { in_flight, limit } = error.problem;
    const full = limit ? t("full", { in_flight: number(in_flight), limit: number(limit) }) : "";
    const detail = kind === "error" && error.problem.detail;
    return make(`div.notice.${kind}`, {},
      make("h4", {}, title),
      make("p", {}, [advice, full].filter(Boolean).join(" ")),
      detail ? make("p.small.muted", {}, t("server_said", { detail })) : null,
      ...more);
  }

  #fail(error, again) {
    if (error.name === "AbortError") return;
    const failed = error instanceof Failure ? error : new Failure("other", 0, { detail: String(error) });
    say(`${this.file.name}: ${failure(failed.kind, failed)[0]}`);
    this.#set(() => [this.#notice("error", failed, [make("div.row", {}, this.#button("again", again))])]);
  }

  #answer(answer) {
    const { image, faces, landmarks } = answer.json ?? {};
    if (answer.blob) this.#compare(answer.blob);
    if (image) this.#shape(image.width, image.height);
    this.element.classList.add("answered");
    if (faces) this.#overlay(faces, image);
    if (landmarks) this.canvas.append(skeleton(landmarks, image));
    const said = () => summary(answer.json ?? {});
    this.#set(() => [make("p.summary", {}, said()), faces?.length === 0 ? make("p.muted", {}, t("found_none_advice")) : null].filter(Boolean));
    say(`${this.file.name}: ${said()}`);
    this.drawResult = () => {
      this.boxes?.translate(this.file.name);
      this.table?.translate(this.file.name);
      this.comparison?.translate(this.file.name);
      this.result.replaceChildren(...this.#results(answer));
    };
    this.drawResult();
  }

  #overlay(faces, image) {
    const touch = (by) => (index, on) => {
      this.boxes.highlight(index, on);
      this.table.highlight(index, on, by === "box");
    };
    this.boxes?.close();
    this.boxes?.element.remove();
    this.boxes = new Boxes(faces, image, touch("box"));
    this.table = new Table(faces, touch("row"));
    this.canvas.append(this.boxes.element);
  }

  #compare(blob) {
    this.comparison?.close();
    this.comparison = new Comparison(blob, this.canvas, (width, height) => this.#shape(width, height));
  }

  #results(answer) {
    const faces = answer.json?.faces;
    const drawn = answer.blob?.type || this.pipeline.types.find((type) => type.startsWith("image/"));
    return [
      faces?.length ? this.table.element : null,
      faces?.some((face) => face.age) ? make("p.small.muted", {}, t("interval_note")) : null,
      answer.timing.length ? timeline(answer.timing) : null,
      make("div.row", {}, drawn ? this.#button(faces ? "download" : "download_drawn", () => this.#download(answer, drawn)) : null),
      answer.json ? this.#raw(answer.json) : null,
    ].filter(Boolean);
  }

  #raw(json) {
    const text = JSON.stringify(json, null, 2);
    const copy = this.#button("copy", () =>
      navigator.clipboard.writeText(text).then(() => (copy.textContent = t("copied")), () => {}));
    const label = t("result_of", { name: this.file.name });
    return make("details", { open: this.result.querySelector("details")?.open ?? false },
      make("summary", {}, t("json")),
      make("div.raw", {}, navigator.clipboard ? copy : null,
        make("pre", { tabIndex: 0, role: "region", "aria-label": label }, text)));
  }

  // Downloads the picture with the result drawn on it by the server.
  async #download(answer, type) {
    const name = `${this.file.name.replace(/\.\w+$/, "")}.${this.pipeline.name ?? "faces"}.${type.split("/")[1].replace("jpeg", "jpg")}`;
    const before = this.show;
    try {
      const drawn = answer.blob ?? (await this.context.queue.run(() => this.#persist(this.pipeline.url(), type, "drawing"))).blob;
      save(drawn, name);
      this.show = before;
      this.show();
    } catch (error) {
      this.#fail(error, () => this.#download(answer, type));
    }
  }
}

function bytes(size) {
  if (size < 1e3) return `${size} B`;
  return size < 1e6 ? `${number(size / 1e3)} kB` : `${number(size / 1e6, 1)} MB`;
}

function summary({ faces, landmarks, reason }) {
  if (landmarks) return t(reason ? "found_nobody" : "found_person");
  if (!faces) return t("done");
  if (faces.length < 2) return t(faces.length ? "found_one" : "found_none");
  return t("found", { count: number(faces.length) });
}

// A bar of the stages, with widths in proportion to their times, and a legend.
function timeline(timing) {
  const total = timing.reduce((sum, [, ms]) => sum + ms, 0);
  const bar = make("div.bar", { "aria-hidden": "true" });
  const items = timing.map(([name, ms], index) => {
    const part = make("i", {});
    part.style.flexGrow = Math.max(ms / total, LEAST_SHARE);
    part.dataset.colour = index % 6;
    bar.append(part);
    const key = make("i", {});
    key.dataset.colour = index % 6;
    return make("li", {}, key, `${has(name) ? t(name) : name} `, make("b", {}, number(ms, ms < 10 ? 1 : 0)), " ms");
  });
  const caption = make("p.caption", {}, make("span", {}, t("stages")), make("span.muted", {}, t("total", { ms: number(total) })));
  return make("div.timeline", {}, caption, bar, make("ul", {}, ...items));
}
