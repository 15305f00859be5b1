// The search in the catalogue: a combobox that searches while the user types.

import { at, counted, element } from "./elements.js";
import { search } from "./server.js";
import { knowTitle } from "./titles.js";

const PAUSE = 120;
const box = at("search"),
  list = at("found");
let turn = 0,
  active = -1,
  timer = null,
  pending = false,
  wanted = false;

// model: function that returns the model's name; choose: function that gets the id of an item.
export function startSearch(model, choose) {
  box.addEventListener("input", () => {
    clearTimeout(timer);
    turn += 1;
    pending = true;
    wanted = false;
    timer = setTimeout(() => find(model(), choose), PAUSE);
  });
  box.addEventListener("keydown", (event) => onKey(event, choose));
  box.addEventListener("blur", close);
  // Keeps the focus in the box.
  list.addEventListener("pointerdown", (event) => event.preventDefault());
  list.addEventListener("click", (event) => take(event.target.closest("li"), choose));
}

// Shows the search box if the model has a catalogue.
export async function showSearch(model) {
  close();
  try {
    const { catalogue } = await search(model, "");
    box.placeholder = "Title or id of " + counted(catalogue, "item");
    at("catalogue").hidden = false;
  } catch (error) {
    at("catalogue").hidden = true;
  }
}

async function find(model, choose) {
  const mine = ++turn,
    text = box.value;
  let found = { items: [], total: 0 },
    problem = "";
  try {
    if (text.trim()) found = await search(model, text);
  } catch (error) {
    problem = error.message;
  }
  if (mine !== turn) return;
  pending = false;
  show(found, problem || (text.trim() ? told(found) : ""));
  if (wanted) take(list.children[active], choose);
  wanted = false;
}

function told({ items, total }) {
  if (!total) return "No item has this in its id or title.";
  return total > items.length
    ? "The first " + items.length + " of " + total + " items."
    : counted(total, "item") + ".";
}

function show({ items }, text) {
  at("search-status").textContent = text;
  list.replaceChildren(
    ...items.map(({ id, title }, place) => {
      if (title) knowTitle(id, title);
      const option = element(
        "li",
        { id: "found-" + place },
        element("span", { textContent: title || id }),
        ...(title ? [element("span", { className: "hint", textContent: id })] : []),
      );
      option.setAttribute("role", "option");
      option.dataset.item = id;
      return option;
    }),
  );
  list.hidden = !items.length;
  box.setAttribute("aria-expanded", String(items.length > 0));
  activate(items.length ? 0 : -1);
}

function activate(place) {
  active = place;
  [...list.children].forEach((option, index) =>
    option.setAttribute("aria-selected", String(index === place)),
  );
  if (place < 0) return box.removeAttribute("aria-activedescendant");
  box.setAttribute("aria-activedescendant", "found-" + place);
  list.children[place].scrollIntoView({ block: "nearest" });
}

function onKey(event, choose) {
  const count = list.children.length;
  if (event.key === "Enter") {
    event.preventDefault();
    if (pending) wanted = true;
    else take(list.children[active], choose);
  } else if (event.key === "Escape") {
    box.value = "";
    close();
  } else if (count && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
    event.preventDefault();
    activate((active + (event.key === "ArrowDown" ? 1 : count - 1)) % count);
  }
}

function take(option, choose) {
  if (!option) return;
  const { item } = option.dataset;
  box.value = "";
  close();
  choose(item);
}

function close() {
  clearTimeout(timer);
  turn += 1;
  pending = wanted = false;
  show({ items: [] }, "");
}
