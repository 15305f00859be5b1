// The tables of the recommended lists, one for each model.

import { at, bar, button, counted, digits, element, heads, largest, signed } from "./elements.js";
import { kept, state } from "./state.js";
import { titleOf } from "./titles.js";

const TABLES = ["answer", "answer-against"],
  MOST_REASONS = 5;

export function showLists(change) {
  const { sides } = state,
    two = sides.length > 1;
  at("lists").classList.toggle("two", two);
  at("lists").classList.toggle("changed", state.out.size > 0);
  TABLES.forEach((id, place) =>
    showList(at(id), sides[place], two ? sides[1 - place] : null, change),
  );
  at("overlap").hidden = !two;
  if (two) {
    const [one, other] = sides.map(itemsOf),
      common = one.filter((item) => other.includes(item)).length;
    const marked = common === 1 ? "; it is marked with ●" : "; they are marked with ●";
    at("overlap").textContent =
      common +
      " of " +
      counted(Math.max(one.length, other.length), "item") +
      (common === 1 ? " is" : " are") +
      " in both lists" +
      (common ? marked : "") +
      ".";
  }
}

export function itemsOf(side) {
  return side.answer.rows.map((row) => row.item);
}

function showList(table, side, other, change) {
  const rows = side ? side.answer.rows : [],
    before = side && side.before ? side.before.rows.map((row) => row.item) : null;
  table.hidden = !rows.length;
  table.caption.textContent = before ? "Change against the whole history." : "";
  if (other) table.caption.prepend(element("strong", { textContent: side.reference }), " ");
  heads(table, [
    ["Rank", "number"],
    ["Item"],
    ["Score", "number score"],
    ...(before ? [["Change"]] : []),
    ...(other ? [["Rank in " + other.reference, "number"]] : []),
    ["Add", "quiet"],
  ]);
  const columns = table.tHead.rows[0].cells.length;
  table.tBodies[0].replaceChildren(
    ...rows.flatMap(({ item, score }, place) => {
      const there = other ? itemsOf(other).indexOf(item) : -1;
      const row = element(
        "tr",
        { className: there < 0 ? "" : "both" },
        element("td", { className: "number", textContent: place + 1 }),
        element("td", {}, chooser(table, item, change)),
        element("td", { className: "number score", textContent: digits(score) }),
        ...(before ? [moved(before.indexOf(item), place)] : []),
        ...(other
          ? [
              element("td", {
                className: "number",
                textContent: there < 0 ? "none" : "● " + (there + 1),
              }),
            ]
          : []),
        element(
          "td",
          { className: "number" },
          button("+", "Add " + titleOf(item) + " to the history", "add " + table.id + item, () =>
            change.add([item]),
          ),
        ),
      );
      return state.chosen === item && side.why
        ? [row, reasons(side.why.contribution, columns)]
        : [row];
    }),
  );
  table.nextElementSibling.textContent = gone(rows, before);
}

function chooser(table, item, change) {
  const made = button(
    titleOf(item),
    "Why " + titleOf(item),
    "why " + table.id + item,
    () => change.choose(item),
    { title: item },
  );
  made.setAttribute("aria-pressed", String(state.chosen === item));
  return made;
}

// The events that raise the score of the chosen item most.
function reasons(contribution, columns) {
  const items = kept(),
    most = largest(contribution);
  const best = [...contribution.keys()]
    .filter((place) => contribution[place] > 0)
    .sort((one, other) => contribution[other] - contribution[one])
    .slice(0, MOST_REASONS);
  const list = element(
    "ul",
    {},
    ...best.map((place) =>
      element(
        "li",
        {},
        element("span", { textContent: titleOf(items[place]), title: items[place] }),
        bar(contribution[place], most, false),
        element("span", { className: "number", textContent: signed(contribution[place]) }),
      ),
    ),
  );
  const text = best.length ? "Because of" : "No event of the history raises its score.";
  return element(
    "tr",
    { className: "reasons" },
    element("td", { colSpan: columns }, text, ...(best.length ? [list] : [])),
  );
}

function moved(was, now) {
  if (was < 0) return element("td", { className: "better", textContent: "new" });
  if (was === now) return element("td", { textContent: "same" });
  const better = now < was;
  return element("td", {
    className: better ? "better" : "worse",
    textContent: (better ? "▲ up " : "▼ down ") + Math.abs(was - now),
  });
}

function gone(rows, before) {
  const items = before ? before.filter((item) => !rows.some((row) => row.item === item)) : [];
  return items.length
    ? "No longer among the first " + before.length + ": " + items.map(titleOf).join(", ") + "."
    : "";
}
