// The faces of one picture as boxes over it and as a table beside it, highlighted together.

import { make } from "./dom.js";
import { number, t } from "./strings.js";

const HEIGHT = { full: 36, short: 20, mark: 20 };
const GAP = 2;
const ENOUGH = 0.6;
const pen = document.createElement("canvas").getContext("2d");

export const percent = (share) => number(Math.round(share * 100));

function words(face) {
  const { gender, age } = face;
  return [
    gender && t(gender.label),
    age && t("years", { years: number(age.years) }),
    age && t("between", { low: age.interval[0], high: age.interval[1] }),
    t("sure", { percent: percent(face.confidence) }),
  ].filter(Boolean).join(", ");
}

function title(face) {
  return [face.gender && t(face.gender.label), face.age && number(face.age.years)].filter(Boolean).join(" ");
}

// Two lines: gender and age; age range and confidence of the detector.
function lines(face) {
  const range = face.age && face.age.interval.join("–");
  return [title(face) || t("face"), [range, `${percent(face.confidence)} %`].filter(Boolean).join(" · ")];
}

// Boxes over a picture of `width` x `height` pixels, in an element of the same shape.
export class Boxes {
  constructor(faces, { width, height }, touch) {
    this.faces = faces;
    this.size = { width, height };
    this.element = make("div.boxes", { role: "group" });
    this.tip = make("span.tip", { "aria-hidden": "true", hidden: true });
    this.boxes = faces.map((face, index) => this.#box(face, index, touch));
    this.labels = faces.map((face) => make("span.label", { "aria-hidden": "true" }));
    this.element.append(...this.boxes, ...this.labels, this.tip);
    faces.forEach((face, index) => {
      const colour = face.gender?.label ?? "unknown";
      this.boxes[index].dataset.gender = this.labels[index].dataset.gender = colour;
    });
    walk(this.boxes);
    this.watcher = new ResizeObserver(() => this.layOut());
    this.watcher.observe(this.element);
  }

  translate(name) {
    this.element.setAttribute("aria-label", t("faces_of", { name }));
    this.faces.forEach((face, index) => {
      this.boxes[index].setAttribute("aria-label", t("describe", { number: index + 1, words: words(face) }));
    });
    this.layOut();
  }

  highlight(index, on) {
    this.boxes[index].classList.toggle("on", on);
    this.labels[index].classList.toggle("on", on);
    this.tip.hidden = !on;
    if (!on) return;
    const [first, second] = lines(this.faces[index]);
    this.tip.replaceChildren(make("b", {}, `${index + 1} · ${first}`), make("small", {}, second));
    this.tip.dataset.gender = this.boxes[index].dataset.gender;
    const rect = this.#rect(index);
    const left = Math.max(0, Math.min(rect.x, this.element.clientWidth - this.tip.offsetWidth));
    const above = rect.y - this.tip.offsetHeight - GAP;
    const top = above >= 0 ? above : Math.min(rect.y + rect.h + GAP, this.element.clientHeight - this.tip.offsetHeight);
    this.tip.style.left = `${left}px`;
    this.tip.style.top = `${top}px`;
  }

  close() {
    this.watcher.disconnect();
  }

  // Chooses the longest kind of label that fits beside all faces, or beside most of them.
  layOut() {
    const width = this.element.clientWidth;
    if (!width) return;
    const rects = this.faces.map((_, index) => this.#rect(index));
    const room = { width, height: this.element.clientHeight };
    const font = getComputedStyle(this.element).fontFamily;
    const kinds = ["full", "short"].map((kind) => place(rects, this.#sizes(kind, font), room, []));
    const chosen = kinds[0].every(Boolean) ? "full" : "short";
    let spots = chosen === "full" ? kinds[0] : kinds[1];
    if (spots.filter(Boolean).length < spots.length * ENOUGH) spots = spots.map(() => null);
    const taken = spots.filter(Boolean);
    const marks = place(rects, this.#sizes("mark", font), room, taken, spots.map(Boolean));
    this.labels.forEach((label, index) => this.#show(label, index, spots[index] ? chosen : "mark", spots[index] ?? marks[index]));
  }

  #show(label, index, kind, spot) {
    label.hidden = !spot;
    if (!spot) return;
    const [first, second] = lines(this.faces[index]);
    if (kind === "mark") label.replaceChildren(make("b", {}, String(index + 1)));
    else label.replaceChildren(make("b", {}, first), ...(kind === "full" ? [make("small", {}, second)] : []));
    label.dataset.kind = kind;
    label.style.left = `${spot.x}px`;
    label.style.top = `${spot.y}px`;
    label.style.width = `${spot.w}px`;
    label.style.height = `${spot.h}px`;
  }

  #sizes(kind, font) {
    return this.faces.map((face, index) => {
      const texts = kind === "mark" ? [String(index + 1)] : lines(face).slice(0, kind === "full" ? 2 : 1);
      const widths = texts.map((text, line) => {
        pen.font = `${line ? "400 11px" : "600 12px"} ${font}`;
        return pen.measureText(text).width;
      });
      return { w: Math.ceil(Math.max(...widths)) + 12, h: HEIGHT[kind] };
    });
  }

  #rect(index) {
    const { box } = this.faces[index];
    const scale = this.element.clientWidth / this.size.width;
    return { x: box.x * scale, y: box.y * scale, w: box.width * scale, h: box.height * scale };
  }

  #box(face, index, touch) {
    const { box } = face;
    const button = make("button.box", { type: "button" });
    const share = (value, of) => `${(value / of) * 100}%`;
    button.style.left = share(box.x, this.size.width);
    button.style.top = share(box.y, this.size.height);
    button.style.width = share(box.width, this.size.width);
    button.style.height = share(box.height, this.size.height);
    listen(button, index, touch);
    return button;
  }
}

const overlap = (a, b) => a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;

// Returns a spot for each label beside its box that covers no other box or label, or null. A mark may be within its own
// box, and is when the box is large.
function place(rects, sizes, room, taken, skip = []) {
  const placed = [...taken];
  const isMark = skip.length > 0;
  return rects.map((rect, index) => {
    if (skip[index]) return null;
    const spot = candidates(rect, sizes[index], isMark).find(
      (one) =>
        one.x >= 0 && one.y >= 0 && one.x + one.w <= room.width && one.y + one.h <= room.height &&
        !placed.some((other) => overlap(one, other)) &&
        (one.own || !rects.some((other, at) => at !== index && overlap(one, other))),
    );
    if (spot) placed.push(spot);
    return spot ?? null;
  });
}

function candidates(rect, { w, h }, isMark) {
  const right = rect.x + rect.w - w;
  const middle = rect.x + (rect.w - w) / 2;
  const above = rect.y - h - GAP;
  const below = rect.y + rect.h + GAP;
  const spots = [above, below].flatMap((y) => [rect.x, middle, right].map((x) => ({ x, y, w, h })));
  spots.push({ x: rect.x + rect.w + GAP, y: rect.y, w, h }, { x: rect.x - w - GAP, y: rect.y, w, h });
  if (!isMark) return spots;
  const corners = [[rect.x, rect.y], [right, rect.y], [rect.x, rect.y + rect.h - h]];
  const within = corners.map(([x, y]) => ({ x, y, w, h, own: true }));
  return rect.w > 3 * w ? [...within, ...spots] : [...spots, ...within];
}

function listen(element, index, touch) {
  element.addEventListener("pointerenter", () => touch(index, true));
  element.addEventListener("pointerleave", () => touch(index, document.activeElement === element));
  element.addEventListener("focus", () => touch(index, true));
  element.addEventListener("blur", () => touch(index, false));
}

// One stop for Tab; arrows, Home and End go from one to the next.
function walk(elements) {
  elements.forEach((element, index) => {
    element.tabIndex = index ? -1 : 0;
    element.addEventListener("keydown", (event) => {
      const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -index, End: elements.length - 1 - index };
      const next = elements[index + steps[event.key]];
      if (!next) return;
      event.preventDefault();
      element.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    });
  });
}

// The faces as a table.
export class Table {
  constructor(faces, touch) {
    this.faces = faces;
    this.element = make("div.scroll", { tabIndex: 0, role: "region" });
    this.touch = touch;
    this.rows = [];
  }

  translate(name) {
    this.element.setAttribute("aria-label", t("faces_of", { name }));
    const columns = ["face", "gender", "age", "interval", "confidence"];
    const head = make("tr", {}, ...columns.map((column) => make("th", { scope: "col" }, t(column))));
    this.rows = this.faces.map((face, index) => this.#row(face, index));
    this.element.replaceChildren(make("table", {}, make("thead", {}, head), make("tbody", {}, ...this.rows)));
  }

  highlight(index, on, scroll) {
    this.rows[index].classList.toggle("on", on);
    if (on && scroll) this.rows[index].scrollIntoView({ block: "nearest" });
  }

  #row(face, index) {
    const { gender, age } = face;
    const cells = [
      gender ? make("span", {}, t(gender.label), make("small", {}, ` ${percent(gender.probability)} %`)) : "–",
      age ? number(age.years, 1, 1) : "–",
      age ? age.interval.join("–") : "–",
      `${percent(face.confidence)} %`,
    ];
    const mark = make("span.mark", {}, String(index + 1));
    mark.dataset.gender = gender?.label ?? "unknown";
    const row = make("tr", {}, make("th", { scope: "row" }, mark), ...cells.map((cell) => make("td", {}, cell)));
    listen(row, index, this.touch);
    return row;
  }
}
