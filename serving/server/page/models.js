// The models to choose from: MODEL, MODEL:VERSION and MODEL:LABEL.

import { at } from "./elements.js";

export function offerModels(served) {
  const options = Object.entries(served).flatMap(([name, { versions, labels }]) => [
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
  at("second").hidden = Object.values(served).flatMap(({ versions }) => versions).length < 2;
}

// A model that is not served is asked too, so that the server says so.
export function chooseModel(select, value) {
  if (![...select.options].some((option) => option.value === value))
    select.add(new Option(value, value));
  select.value = value;
  if (value && select.id === "against") at("second").hidden = false;
}
