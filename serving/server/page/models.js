// The choices of models: MODEL, MODEL:VERSION and MODEL:LABEL.

import { at } from "./elements.js";

let served = [];

export function offerModels(models) {
  served = models;
  const options = served.flatMap(({ name, versions, labels }) => [
    [name, name],
    ...(versions.length > 1 ? versions.map((one) => [name + ":" + one, name + ":" + one]) : []),
    ...Object.entries(labels).map(([label, version]) => [
      name + ":" + label,
      name + ":" + label + " (version " + version + ")",
    ]),
  ]);
  at("model").replaceChildren(...options.map(([value, text]) => new Option(text, value)));
  at("against").replaceChildren(
    new Option("no other", ""),
    ...options.map(([value, text]) => new Option(text, value)),
  );
  at("second").hidden = served.flatMap(({ versions }) => versions).length < 2;
}

// Whether a model has an items file. Without one, a request for titles fails.
export function hasDescriptions(reference) {
  const [name, which] = reference.split(/:(.*)/s);
  const model = served.find((one) => one.name === name);
  if (!model) return false;
  if (which === undefined) return model.described.includes(Math.max(...model.versions));
  return model.described.includes(/^[0-9]+$/.test(which) ? Number(which) : model.labels[which]);
}

// Accepts a model that is not served too, so that the server reports the error.
export function chooseModel(select, value) {
  if (![...select.options].some((option) => option.value === value))
    select.add(new Option(value, value));
  select.value = value;
  if (value && select.id === "against") at("second").hidden = false;
}
