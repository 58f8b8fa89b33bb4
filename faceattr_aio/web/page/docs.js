// openapi.json for people: what can be asked, what is answered, and a form to try it with.

import { Fields, follow, load } from "./api.js";
import { byId, make, say } from "./dom.js";
import { addSwitch, failure, number, onLanguage, t } from "./strings.js";

const english = { lang: "en" };
let urls = [];

// Text in which `words` are code.
function prose(text) {
  return text.split("`").map((part, index) => (index % 2 ? make("code", {}, part) : part));
}

function draw(api) {
  const { title, version, description } = api.info;
  const head = make("header", english, make("h2", {}, `${title} ${version}`), make("p", {}, ...prose(description)));
  const groups = api.tags.map((tag) => group(api, tag)).filter(Boolean);
  byId("docs").replaceChildren(head, ...groups, schemas(api));
}

function group(api, { name, description }) {
  const found = Object.entries(api.paths).flatMap(([path, methods]) =>
    Object.entries(methods).filter(([, one]) => one.tags.includes(name)).map(([method, one]) => operation(api, path, method, one)));
  if (!found.length) return null;
  return make("section.group", english, make("h2", {}, name), make("p.muted", {}, description), ...found);
}

function operation(api, path, method, one) {
  const badge = make("span.method", {}, method.toUpperCase());
  badge.dataset.method = method;
  const inside = make("div.inside", {});
  const details = make("details.operation", { id: one.operationId },
    make("summary", {}, make("h3", {}, badge, path), make("span.muted", {}, one.summary)), inside);
  const fill = () => inside.childElementCount || inside.append(...contents(api, path, method, one).filter(Boolean));
  details.addEventListener("toggle", fill);
  if (method === "post") {
    details.open = true;
    fill();
  }
  return details;
}

function contents(api, path, method, one) {
  const parameters = (one.parameters ?? []).map((parameter) => follow(api, parameter));
  const body = one.requestBody;
  return [
    one.description && make("p", {}, ...prose(one.description)),
    parameters.length ? section("parameters", table(parameters.map(parameterRow))) : null,
    body ? section("body", make("p", {}, ...Object.keys(body.content).flatMap((type) => [make("code", {}, type), " "]))) : null,
    section("responses", table(Object.entries(one.responses).map(([status, node]) => responseRow(api, status, follow(api, node))))),
    tryIt(api, path, method, one, parameters),
  ];
}

function section(key, ...children) {
  return make("section", {}, make("h4", { lang: document.documentElement.lang }, t(key)), ...children);
}

function table(rows) {
  return make("div.scroll", { tabIndex: 0, role: "region", "aria-label": t("parameters") }, make("table", {}, make("tbody", {}, ...rows)));
}

function parameterRow({ name, schema, required, description = "" }) {
  const { minimum, maximum, items } = schema;
  const range = minimum === undefined ? "" : `${minimum} to ${maximum}`;
  const values = (schema.enum ?? items?.enum ?? []).join(", ");
  const fallback = schema.default === undefined ? "" : t("default_is", { value: String(schema.default) });
  return make("tr", {},
    make("td", {}, make("code", {}, name), required ? make("small", {}, ` ${t("required")}`) : ""),
    make("td", {}, description, make("br"), make("small.muted", {}, [schema.type, values || range, fallback].filter(Boolean).join(" · "))));
}

function responseRow(api, status, node) {
  const kinds = Object.values(node.content ?? {}).flatMap((content) => Object.keys(content.examples ?? {}));
  const headers = Object.keys(node.headers ?? {}).join(", ");
  const example = Object.values(node.content ?? {}).map((content) => content.example).find(Boolean);
  return make("tr", {}, make("td", {}, make("code", {}, status)),
    make("td", {}, node.description,
      kinds.length ? make("div.kinds", {}, ...kinds.map((kind) => make("code", {}, kind))) : null,
      make("div", {}, make("small.muted", {}, [...Object.keys(node.content ?? {}), headers].filter(Boolean).join(" · "))),
      example ? make("details", {}, make("summary", {}, t("example")), code(example)) : null));
}

function code(value) {
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  return make("pre", { tabIndex: 0, role: "region", "aria-label": t("example") }, text);
}

function schemas(api) {
  const all = Object.entries(api.components.schemas).map(([name, schema]) =>
    make("details.operation", {}, make("summary", {}, make("h3", {}, name)), make("div.inside", {}, code(schema))));
  return make("section.group", english, make("h2", {}, t("schemas")), ...all);
}

function tryIt(api, path, method, one, parameters) {
  const fields = new Fields(parameters);
  const [, answered] = Object.entries(one.responses).find(([status]) => status.startsWith("2"));
  const types = Object.keys(follow(api, answered).content ?? {});
  const accept = types.length > 1 ? new Fields([{ name: "Accept", in: "header", schema: { enum: types, default: types[0] } }]) : null;
  const picture = one.requestBody ? make("input", { type: "file", accept: "image/*", required: true }) : null;
  const key = one.security ? make("input", { type: "password", autocomplete: "off" }) : null;
  const output = make("div.output", {});
  const form = make("form.try", { "aria-label": `${t("try_it")}: ${method.toUpperCase()} ${path}` },
    make("h4", {}, t("try_it")),
    make("div.fields", {},
      picture && make("label.field", {}, make("span.name", {}, t("picture")), picture),
      ...(accept?.elements ?? []), ...fields.elements,
      key && make("label.field", {}, make("span.name", {}, t("key")), key)),
    make("div.row", {}, make("button.main", {}, t("send"))), output);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const headers = Object.fromEntries([...fields.read(), ...(accept?.read() ?? [])].filter(([one]) => one.in === "header").map(([one, text]) => [one.name, text]));
    if (key?.value) headers.Authorization = `Bearer ${key.value}`;
    if (picture) headers["Content-Type"] = "application/octet-stream";
    ask(address(path, fields), { method: method.toUpperCase(), headers, body: picture?.files[0] }, output);
  });
  return form;
}

// Relative to this page, so that it is right wherever the app is mounted.
function address(path, fields) {
  const filled = fields.read().filter(([one]) => one.in === "path").reduce(
    (at, [one, text]) => at.replace(`{${one.name}}`, encodeURIComponent(text)), path);
  return `.${filled}${fields.query()}`;
}

async function ask(url, request, output) {
  const began = performance.now();
  try {
    const response = await fetch(url, request);
    const blob = await response.blob();
    const line = t("answered", { status: response.status, ms: number(performance.now() - began) });
    const headers = [...response.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
    say(line);
    output.replaceChildren(make("b", {}, line),
      make("details", {}, make("summary", {}, t("headers")), code(headers)), await shown(blob));
  } catch {
    output.replaceChildren(make("b", {}, failure("network")[0]));
  }
}

async function shown(blob) {
  if (blob.type.startsWith("image/")) {
    const url = URL.createObjectURL(blob);
    urls.push(url);
    return make("img", { src: url, alt: t("picture") });
  }
  const text = await blob.text();
  return code(blob.type.includes("json") ? JSON.parse(text) : text);
}

const api = await load();
addSwitch(byId("language"));
onLanguage(() => {
  urls.forEach((url) => URL.revokeObjectURL(url));
  urls = [];
  draw(api);
});
