// Draws a person over a picture: a line for each limb and finger, a point for each landmark.

import { make } from "./dom.js";

// For each part, the landmarks to join, by index.
const PALM = [[0, 1, 2, 3, 4], [0, 5, 6, 7, 8], [9, 10, 11, 12], [13, 14, 15, 16], [0, 17, 18, 19, 20], [5, 9, 13, 17]];
const LINES = {
  pose: [
    [8, 6, 5, 4, 0, 1, 2, 3, 7], [10, 9], [11, 12, 24, 23, 11],
    [11, 13, 15, 17, 19, 15, 21], [12, 14, 16, 18, 20, 16, 22], [23, 25, 27, 29, 31, 27], [24, 26, 28, 30, 32, 28],
  ],
  face: [],
  left_hand: PALM,
  right_hand: PALM,
};
const VISIBLE = 0.5;
const SVG = "http://www.w3.org/2000/svg";

// Returns an element of the shape of a picture of `width` x `height` pixels.
export function skeleton(landmarks, { width, height }) {
  const drawing = document.createElementNS(SVG, "svg");
  drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
  for (const [part, points] of Object.entries(landmarks)) {
    const seen = (point) => point && (point.visibility ?? 1) >= VISIBLE;
    const place = ({ x, y }) => `${(x * width).toFixed(1)} ${(y * height).toFixed(1)}`;
    const limbs = (LINES[part] ?? []).flatMap((line) => line.slice(1).map((end, at) => [points[line[at]], points[end]]));
    drawing.append(
      path(part, "limb", limbs.filter((ends) => ends.every(seen)).map(([start, end]) => `M${place(start)}L${place(end)}`)),
      path(part, "joint", points.filter(seen).map((point) => `M${place(point)}h0`)),
    );
  }
  return make("div.skeleton", { "aria-hidden": "true" }, drawing);
}

function path(part, kind, steps) {
  const element = document.createElementNS(SVG, "path");
  element.setAttribute("d", steps.join(""));
  element.setAttribute("class", kind);
  element.dataset.part = part;
  return element;
}
