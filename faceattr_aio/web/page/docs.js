// The page /docs: every operation of openapi.json with its parameters and responses, and a form that sends a request.

import { Fields, follow, load } from "./api.js";
import { byId, make, say } from "./dom.js";
import { addSwitch, failure, number, onLanguage, t } from "./strings.js";

const english = { lang: "en" };
const api = await load();
let urls = [];

function draw() {
  const { title, version, description } = api.info;
  const head = make("header", english, make("h2", {}, `${title} ${version}`), make("p", {}, ...prose(description)));
  byId("docs").replaceChildren(head, ...api.tags.map(group).filter(Boolean), schemas());
}

// Text in which `words` between backquotes are code.
function prose(text) {
  return text.split("`").map((part, index) => (index % 2 ? make("code", {}, part) : part));
}

function group({ name, description }) {
  const operations = Object.entries(api.paths).flatMap(([path, methods]) =>
    Object.entries(methods).filter(([, one]) => one.tags.includes(name)).map(([method, one]) => operation(path, method, one)));
  if (!operations.length) return null;
  return make("section.group", english, make("h2", {}, name), make("p.muted", {}, description), ...operations);
}

// An operation is filled when it is first opened. POST operations are open from the start.
function operation(path, method, one) {
  const badge = make("span.method", {}, method.toUpperCase());
  badge.dataset.method = method;
  const inside = make("div.inside", {});
  const details = make("details.operation", { id: one.operationId, open: method === "post" },
    make("summary", {}, make("h3", {}, badge, path), make("span.muted", {}, one.summary)), inside);
  const fill = () => inside.childElementCount || inside.append(...contents(path, method, one).filter(Boolean));
  details.addEventListener("toggle", fill);
  if (details.open) fill();
  return details;
}

function contents(path, method, one) {
  const parameters = (one.parameters ?? []).map((parameter) => follow(api, parameter));
  const responses = Object.entries(one.responses).map(([status, node]) => [status, follow(api, node)]);
  const bodies = Object.keys(one.requestBody?.content ?? {}).flatMap((type) => [make("code", {}, type), " "]);
  return [
    one.description && make("p", {}, ...prose(one.description)),
    parameters.length ? section("parameters", table("parameters", parameters.map(parameterRow))) : null,
    bodies.length ? section("body", make("p", {}, ...bodies)) : null,
    section("responses", table("responses", responses.map(responseRow))),
    tryIt(path, method, one, parameters, Object.keys(responses.find(([status]) => status < 300)[1].content ?? {})),
  ];
}

function section(key, child) {
  return make("section", {}, make("h4", { lang: document.documentElement.lang }, t(key)), child);
}

function table(key, rows) {
  return make("div.scroll", { tabIndex: 0, role: "region", "aria-label": t(key) }, make("table", {}, make("tbody", {}, ...rows)));
}

function parameterRow({ name, schema, required, description = "" }) {
  const { minimum, maximum, items } = schema;
  const values = (schema.enum ?? items?.enum ?? []).join(", ") || (minimum === undefined ? "" : `${minimum} to ${maximum}`);
  const initial = schema.default === undefined ? "" : t("default_is", { value: String(schema.default) });
  return make("tr", {},
    make("td", {}, make("code", {}, name), required ? make("small", {}, ` ${t("required")}`) : ""),
    make("td", {}, ...prose(description), make("br"), make("small.muted", {}, [schema.type, values, initial].filter(Boolean).join(" · "))));
}

function responseRow([status, { description, headers = {}, content = {} }]) {
  const bodies = Object.values(content);
  const kinds = bodies.flatMap((body) => Object.keys(body.examples ?? {}));
  const example = bodies.map((body) => body.example).find(Boolean);
  return make("tr", {}, make("td", {}, make("code", {}, status)),
    make("td", {}, ...prose(description),
      kinds.length ? make("div.kinds", {}, ...kinds.map((kind) => make("code", {}, kind))) : null,
      make("div", {}, make("small.muted", {}, [...Object.keys(content), Object.keys(headers).join(", ")].filter(Boolean).join(" · "))),
      example ? make("details", {}, make("summary", {}, t("example")), code(example)) : null));
}

function code(value) {
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  return make("pre", { tabIndex: 0, role: "region", "aria-label": t("example") }, text);
}

function schemas() {
  const all = Object.entries(api.components.schemas).map(([name, schema]) =>
    make("details.operation", {}, make("summary", {}, make("h3", {}, name)), make("div.inside", {}, code(schema))));
  return make("section.group", english, make("h2", {}, t("schemas")), ...all);
}

// A form for the operation, whose answer is one of `types`.
function tryIt(path, method, one, parameters, types) {
  const accept = { name: "Accept", in: "header", schema: { enum: types, default: types[0] } };
  const fields = new Fields([...(types.length > 1 ? [accept] : []), ...parameters]);
  const picture = one.requestBody ? make("input", { type: "file", accept: "image/*", required: true }) : null;
  const key = one.security ? make("input", { type: "password", autocomplete: "off" }) : null;
  const output = make("div.output", {});
  const form = make("form.try", { "aria-label": `${t("try_it")}: ${method.toUpperCase()} ${path}` },
    make("h4", {}, t("try_it")),
    make("div.fields", {}, named("picture", picture), ...fields.elements, named("key", key)),
    make("div.row", {}, make("button.main", {}, t("send"))), output);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const headers = Object.fromEntries(fields.read("header"));
    if (key?.value) headers.Authorization = `Bearer ${key.value}`;
    if (picture) headers["Content-Type"] = "application/octet-stream";
    request(address(path, fields), { method: method.toUpperCase(), headers, body: picture?.files[0] }, output);
  });
  return form;
}

function named(key, input) {
  return input && make("label.field", {}, make("span.name", {}, t(key)), input);
}

// Relative to this page, because the app may be mounted below a prefix.
function address(path, fields) {
  const filled = fields.read("path").reduce((at, [name, text]) => at.replace(`{${name}}`, encodeURIComponent(text)), path);
  return `.${filled}${fields.query()}`;
}

async function request(url, init, output) {
  const start = performance.now();
  try {
    const response = await fetch(url, init);
    const blob = await response.blob();
    const line = t("answered", { status: response.status, ms: number(performance.now() - start) });
    const headers = [...response.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
    say(line);
    output.replaceChildren(make("b", {}, line),
      make("details", {}, make("summary", {}, t("headers")), code(headers)), await body(blob));
  } catch {
    output.replaceChildren(make("b", {}, failure("network")[0]));
  }
}

async function body(blob) {
  if (blob.type.startsWith("image/")) {
    const url = URL.createObjectURL(blob);
    urls.push(url);
    return make("img", { src: url, alt: t("picture") });
  }
  const text = await blob.text();
  return code(/[/+]json\b/.test(blob.type) ? JSON.parse(text) : text);
}

addSwitch(byId("language"));
onLanguage(() => {
  urls.forEach((url) => URL.revokeObjectURL(url));
  urls = [];
  draw();
});
