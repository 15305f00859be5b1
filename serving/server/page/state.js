// The state of the page, and its address, which restores the state.

import { at } from "./elements.js";
import { chooseModel } from "./models.js";

const MOST_SHOWN = 20,
  LONGEST_ADDRESS = 30000;

// sides: {reference, answer, before, why, unknown} for each model; unknown is true if the model
// does not know the chosen item.
// log: {user, items, events} of the loaded user of the log, or null.
export const state = {
  items: [],
  out: new Set(),
  chosen: null,
  sides: [],
  log: null,
  all: false,
  turn: 0,
};

export function references() {
  return [at("model").value, at("against").value].filter((one) => one !== "");
}

export function kept() {
  return state.items.filter((_, place) => !state.out.has(place));
}

export function firstShown() {
  return state.all ? 0 : Math.max(0, state.items.length - MOST_SHOWN);
}

export function setItems(items, log = null) {
  Object.assign(state, { items, out: new Set(), chosen: null, log, all: false });
}

export function removeItem(place) {
  state.items.splice(place, 1);
  state.out = new Set(
    [...state.out].filter((one) => one !== place).map((one) => (one > place ? one - 1 : one)),
  );
}

// Whether the history is still that of the loaded user of the log.
export function isLogged() {
  const { items, log, out } = state;
  return (
    log !== null &&
    !out.size &&
    log.items.length === items.length &&
    log.items.every((item, place) => item === items[place])
  );
}

export function remember() {
  const query = new URLSearchParams({ model: at("model").value, k: at("k").value });
  for (const id of ["against", "user"]) if (at(id).value) query.set(id, at(id).value);
  if (isLogged()) query.set("log", state.log.user);
  else
    state.items.forEach((item, place) =>
      query.append(state.out.has(place) ? "without" : "history", item),
    );
  if (state.chosen !== null) query.set("why", state.chosen);
  const text = String(query);
  if (text.length <= LONGEST_ADDRESS) window.history.replaceState(null, "", "?" + text);
}

// Restores the state from the address; returns the user of the log to load, or null.
export function recall() {
  const query = new URLSearchParams(location.search);
  for (const id of ["k", "user"]) if (query.has(id)) at(id).value = query.get(id);
  for (const id of ["model", "against"]) if (query.has(id)) chooseModel(at(id), query.get(id));
  for (const [key, value] of query) {
    if (key === "without") state.out.add(state.items.length);
    if (key === "without" || key === "history") state.items.push(value);
  }
  state.chosen = query.get("why");
  return query.get("log");
}
