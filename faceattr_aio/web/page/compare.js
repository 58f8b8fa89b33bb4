// A picture that the server made of another one, laid over it: a slider shows more of the one or of the other.

import { make } from "./dom.js";
import { t } from "./strings.js";

export class Comparison {
  // Over `canvas`, which has the picture of before; `shape` is told width and height.
  constructor(blob, canvas, shape) {
    this.url = URL.createObjectURL(blob);
    this.after = make("img.after", { src: this.url, alt: "" });
    this.after.addEventListener("load", () => shape(this.after.naturalWidth, this.after.naturalHeight));
    this.slider = make("input.split", { type: "range", min: 0, max: 100, value: 50 });
    this.slider.addEventListener("input", () => canvas.style.setProperty("--split", `${this.slider.value}%`));
    canvas.append(this.after);
    canvas.after(this.slider);
  }

  translate(name) {
    this.after.alt = t("after_of", { name });
    this.slider.setAttribute("aria-label", t("before_after", { name }));
  }

  close() {
    URL.revokeObjectURL(this.url);
    this.after.remove();
    this.slider.remove();
  }
}
