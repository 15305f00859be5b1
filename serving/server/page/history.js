// The table of the history, with the contributions to the chosen item as bars.

import { at, bar, button, counted, digits, element, heads, largest, signed } from "./elements.js";
import { firstShown, isLogged, state } from "./state.js";
import { titleOf } from "./titles.js";

export function showHistory(change) {
  const sides = state.sides.filter((side) => side.why),
    first = firstShown();
  const attention = sides.length === 1 && sides[0].why.attention;
  at("history").hidden = !state.items.length;
  at("history").caption.textContent = caption(sides, attention);
  heads(at("history"), [
    ["Item"],
    ...sides.map((side) => [sides.length > 1 ? side.reference : "Contribution"]),
    ...(attention ? [["Attention"]] : []),
    ["Remove", "quiet"],
  ]);
  const places = [...state.items.keys()].filter((place) => !state.out.has(place));
  at("history").tBodies[0].replaceChildren(
    ...state.items.slice(first).map((item, index) => {
      const place = first + index,
        kept = places.indexOf(place);
      return element(
        "tr",
        { className: state.out.has(place) ? "out" : "" },
        use(item, place, change),
        ...sides.map((side) => drawn(side.why.contribution, kept, true)),
        ...(attention ? [drawn(attention, kept, false)] : []),
        element(
          "td",
          { className: "number" },
          button("✕", "Remove " + titleOf(item), "remove " + place, () => change.remove(place)),
        ),
      );
    }),
  );
  at("older").hidden = !first;
  at("older").textContent = "Show " + counted(first, "older event");
  showLogged();
}

function caption(sides, attention) {
  if (!sides.length)
    return (
      "Untick an item to see what changes without it; " +
      "choose a recommended item to see why it is there."
    );
  const more = attention ? ", and the attention to it." : ".";
  return `By how much the score of ${titleOf(state.chosen)} falls when an item is left out` + more;
}

function showLogged() {
  const { log } = state,
    some = log && log.items.length < log.events;
  at("logged").textContent = !isLogged()
    ? ""
    : "History of the user " +
      log.user +
      " in the log: " +
      (some ? "the latest " + log.items.length + " of " : "") +
      counted(log.events, "event") +
      ".";
}

function use(item, place, change) {
  const box = element("input", {
    type: "checkbox",
    checked: !state.out.has(place),
    onchange: () => change.leaveOut(place),
  });
  box.dataset.key = "use " + place;
  return element(
    "td",
    {},
    element("label", {}, box, element("span", { textContent: titleOf(item), title: item })),
  );
}

function drawn(values, index, both) {
  if (index < 0) return element("td", { textContent: "left out" });
  const value = values[index],
    text = both ? signed(value) : digits(value);
  return element(
    "td",
    { className: "drawn" },
    bar(value, largest(values), both),
    element("span", { textContent: text }),
  );
}
