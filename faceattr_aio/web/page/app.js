// The page /: accepts pictures by drop, paste, file or camera, and adds a card for each.

import { Fields, load, pipelines } from "./api.js";
import { Card } from "./card.js";
import { byId, make, say } from "./dom.js";
import { live } from "./live.js";
import { Queue } from "./request.js";
import { addSwitch, number, onLanguage, t } from "./strings.js";

const AT_A_TIME = 2;
const context = { queue: new Queue(AT_A_TIME), pipeline: chosen, key: { value: "", ask: askKey } };
let known = [];
let fields = null;
let asking = null;

// Returns the chosen pipeline and its URL with the current options.
function chosen() {
  const pipeline = known[byId("pipeline").selectedIndex] ?? { path: "analyze", types: ["application/json"] };
  const query = fields?.query() ?? "";
  return { ...pipeline, url: () => pipeline.path + query };
}

function take(files) {
  for (const file of files) byId("pictures").append(new Card(file, context).element);
}

// Asks for an API key, once for all waiting cards; resolves to whether one was entered.
function askKey() {
  asking ??= new Promise((resolve) => {
    const dialog = byId("key-dialog");
    dialog.returnValue = "";
    byId("key-wrong").hidden = !context.key.value;
    byId("key").value = "";
    dialog.addEventListener("close", () => {
      asking = null;
      context.key.value = dialog.returnValue === "go" ? byId("key").value.trim() : "";
      resolve(Boolean(context.key.value));
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}

function listenForFiles() {
  const over = (on) => (event) => {
    event.preventDefault();
    byId("intake").classList.toggle("over", on);
  };
  addEventListener("dragover", over(true));
  addEventListener("dragleave", (event) => event.relatedTarget ?? over(false)(event));
  addEventListener("drop", (event) => {
    over(false)(event);
    take(event.dataTransfer.files);
  });
  addEventListener("paste", (event) => take(event.clipboardData.files));
  byId("choose").addEventListener("click", () => byId("files").click());
  byId("files").addEventListener("change", ({ target }) => {
    take(target.files);
    target.value = "";
  });
}

function listenForCamera() {
  const dialog = byId("camera-dialog");
  const video = byId("camera");
  byId("take").hidden = !navigator.mediaDevices;
  byId("take").addEventListener("click", async () => {
    try {
      video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1920 } } });
      dialog.showModal();
    } catch (error) {
      say(t("no_camera", { why: error.message }));
      byId("limits").textContent = t("no_camera", { why: error.message });
    }
  });
  dialog.addEventListener("close", () => video.srcObject?.getTracks().forEach((track) => track.stop()));
  byId("camera-cancel").addEventListener("click", () => dialog.close());
  byId("shoot").addEventListener("click", () => shoot(video).then((file) => {
    dialog.close();
    take([file]);
  }));
}

function shoot(video) {
  const canvas = make("canvas", { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  return new Promise((resolve) => {
    canvas.toBlob((blob) => resolve(new File([blob], "camera.jpg", { type: blob.type })), "image/jpeg", 0.92);
  });
}

// Lists the pipelines and their options. Without openapi.json the page still offers /analyze.
async function showPipelines() {
  known = pipelines(await load());
  byId("pipeline").replaceChildren(...known.map(({ name }) => make("option", {}, name)));
  byId("pipelines").hidden = known.length < 2;
  byId("pipeline").addEventListener("change", showPipeline);
  showPipeline();
}

function showPipeline() {
  const { parameters = [] } = known[byId("pipeline").selectedIndex] ?? {};
  fields = new Fields(parameters);
  byId("fields").replaceChildren(...fields.elements);
  byId("options").hidden = parameters.length === 0;
  showLimits();
}

function showLimits() {
  const { limits } = chosen();
  if (!limits) return;
  const formats = limits.formats.map((name) => (name === "webp" ? "WebP" : name.toUpperCase())).join(", ");
  byId("limits").textContent = t("limits", { formats, size: number(limits.max_bytes / 2 ** 20, 1) });
}

addSwitch(byId("language"));
onLanguage(showLimits);
listenForFiles();
listenForCamera();
byId("settings").addEventListener("submit", (event) => event.preventDefault());
byId("key-cancel").addEventListener("click", () => byId("key-dialog").close());
live();
showPipelines().catch(() => {});
