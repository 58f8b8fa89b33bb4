// The converted picture over the original, with a slider between the two.

import { make } from "./dom.js";
import { t } from "./strings.js";

export class Comparison {
  // `canvas` holds the original; `shape` is called with the width and height of the result.
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
