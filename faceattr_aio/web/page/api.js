// The OpenAPI document of the server, and its parameters as form fields.

import { make } from "./dom.js";

export async function load() {
  const response = await fetch("openapi.json");
  return response.json();
}

// Resolves `$ref`.
export function follow(api, node) {
  while (node?.$ref) node = node.$ref.slice(2).split("/").reduce((at, name) => at[name], api);
  return node;
}

export function pipelines(api) {
  return Object.entries(api.paths).filter(([, methods]) => methods.post?.["x-pipeline"]).map(([path, { post }]) => ({
    name: post["x-pipeline"],
    path: path.slice(1),
    types: Object.keys(post.responses[200].content),
    limits: post["x-limits"],
    parameters: post.parameters.map((one) => follow(api, one)).filter((one) => one.in === "query"),
  }));
}

// One form field for each parameter.
export class Fields {
  constructor(parameters) {
    this.fields = parameters.map((parameter) => [parameter, field(parameter)]);
    this.elements = this.fields.map(([parameter, input]) => labelled(parameter, input));
  }

  // Returns [name, value] of the parameters in `place` (query, header, path) that differ from their default.
  read(place) {
    return this.fields
      .filter(([one, input]) => one.in === place && value(input) !== String(one.schema.default ?? ""))
      .map(([one, input]) => [one.name, value(input)]);
  }

  query() {
    const query = String(new URLSearchParams(this.read("query")));
    return query && `?${query}`;
  }
}

function field({ name, schema }) {
  if (schema.type === "array") return choices(name, schema);
  if (schema.enum) {
    return make("select", { name }, ...schema.enum.map((one) => make("option", { selected: one === schema.default }, one)));
  }
  if (schema.type === "number" || schema.type === "integer") {
    const step = schema.type === "integer" ? 1 : 0.05;
    return make("input", { name, type: "number", min: schema.minimum ?? "", max: schema.maximum ?? "", step, value: schema.default ?? "" });
  }
  return make("input", { name, type: "text", value: schema.default ?? "", autocomplete: "off" });
}

function choices(name, schema) {
  const boxes = schema.items.enum.map((one) =>
    make("label.choice", {}, make("input", { type: "checkbox", value: one, checked: schema.default?.includes(one) }), one));
  return make("fieldset", { name }, ...boxes);
}

function value(input) {
  if (input.tagName !== "FIELDSET") return input.value;
  return [...input.querySelectorAll(":checked")].map((box) => box.value).join(",");
}

function labelled({ name, description }, input) {
  const words = [make("span.name", {}, name), input, make("small.muted", { lang: "en" }, description ?? "")];
  if (input.tagName !== "FIELDSET") return make("label.field", {}, ...words);
  input.prepend(make("legend.name", {}, name));
  return make("div.field", {}, ...words.slice(1));
}
