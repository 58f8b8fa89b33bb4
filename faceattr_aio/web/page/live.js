// The current load of the server, updated from /stats while the page is visible.

import { byId } from "./dom.js";
import { number, onLanguage, t } from "./strings.js";

const PERIOD_MS = 2000;
let last = null;

export function live() {
  onLanguage(show);
  setInterval(() => document.visibilityState === "visible" && ask(), PERIOD_MS);
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && ask());
  ask();
}

async function ask() {
  try {
    const response = await fetch("stats", { signal: AbortSignal.timeout(PERIOD_MS) });
    last = response.ok ? await response.json() : null;
  } catch {
    last = null;
  }
  show();
}

function show() {
  byId("live").hidden = !last;
  if (!last) return;
  const share = Math.min(1, last.in_flight / last.limit);
  byId("in-flight").textContent = `${number(last.in_flight)} / ${number(last.limit)}`;
  byId("meter").style.width = `${share * 100}%`;
  byId("meter").classList.toggle("full", share === 1);
  byId("rate").textContent = number(last.requests_per_s, 1);
  byId("refused").textContent = t("refused_value", { total: number(last.totals.refused), rate: number(last.refused_per_s, 1) });
}
