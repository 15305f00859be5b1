// The page: sends requests for the chosen history and models, and shows the responses.

import { at, button, counted, element, keepingFocus } from "./elements.js";
import { showHistory } from "./history.js";
import { itemsOf, showLists } from "./lists.js";
import { offerModels } from "./models.js";
import { showSearch, startSearch } from "./search.js";
import { explain, models, recommend, userHistory } from "./server.js";
import { kept, recall, references, remember, removeItem, setItems, state } from "./state.js";
import { learnTitles, titleOf } from "./titles.js";

const change = {
  add: addItems,
  choose: chooseItem,
  leaveOut,
  remove: (place) => {
    removeItem(place);
    update();
  },
};

async function update() {
  const turn = ++state.turn;
  if (!at("request").reportValidity()) return;
  try {
    const sides = await Promise.all(references().map(sideOf));
    await learnTitles(references(), [
      ...state.items,
      ...sides.flatMap((side) => [
        ...itemsOf(side),
        ...(side.before ? side.before.rows.map((row) => row.item) : []),
      ]),
    ]);
    if (turn !== state.turn) return;
    state.sides = sides;
    at("problem").textContent = "";
    show();
  } catch (error) {
    if (turn === state.turn) at("problem").textContent = error.message;
  }
  document.body.dataset.turn = String(turn);
}

async function sideOf(reference) {
  const items = kept(),
    k = Number(at("k").value),
    user = at("user").value;
  const [answer, before, why] = await Promise.all([
    recommend(reference, user, items, k),
    state.out.size ? recommend(reference, user, state.items, k) : null,
    state.chosen !== null && items.length ? explain(reference, user, items, state.chosen) : null,
  ]);
  const unknown = why !== null && !why.known;
  return { reference, answer, before, why: unknown ? null : why, unknown };
}

function show() {
  remember();
  showNote();
  keepingFocus(() => {
    showHistory(change);
    showLists(change);
  }, at("items"));
}

function showNote() {
  const { rows, most } = state.sides[0].answer;
  const limit = most === null ? "" : " The model gives at most " + most + ".";
  at("note").textContent =
    counted(rows.length, "item") +
    " for " +
    kept().length +
    " of " +
    state.items.length +
    " in the history. " +
    state.sides.map(about).join(" ") +
    limit;
}

function about({ reference, answer, unknown }) {
  const source =
    answer.source === "popular"
      ? "Nothing of this history is known: these are the most popular items."
      : "Ranked by the model.";
  const text = unknown ? source + " The model knows no item " + state.chosen + "." : source;
  return state.sides.length > 1 ? reference + ": " + text : text;
}

function addItems(items) {
  state.items.push(...items.filter((item) => item !== ""));
  update();
}

function leaveOut(place) {
  if (!state.out.delete(place)) state.out.add(place);
  update();
}

function chooseItem(item) {
  state.chosen = state.chosen === item ? null : item;
  update();
}

// Loads the history of a user of the log, or, without a user, of a random user.
async function load(user, chosen = null) {
  try {
    const found = await userHistory(user);
    at("user").value = found.user;
    setItems(found.history, { user: found.user, items: [...found.history], events: found.events });
    state.chosen = chosen;
  } catch (error) {
    at("problem").textContent = error.message;
    return;
  }
  await update();
}

async function showPopular() {
  try {
    const { rows } = await recommend(at("model").value, at("user").value, [], 10);
    await learnTitles(
      references(),
      rows.map((row) => row.item),
    );
    at("popular").hidden = !rows.length;
    at("popular")
      .querySelector("ul")
      .replaceChildren(
        ...rows.map(({ item }) =>
          element(
            "li",
            {},
            button(
              titleOf(item),
              "Add " + titleOf(item) + " to the history",
              "popular " + item,
              () => addItems([item]),
              { title: item },
            ),
          ),
        ),
      );
  } catch (error) {
    at("popular").hidden = true;
  }
}

async function start() {
  let served;
  try {
    served = await models();
  } catch (error) {
    at("problem").textContent = error.message;
    return;
  }
  offerModels(served.models);
  at("log").hidden = served.users === null;
  const user = recall();
  await Promise.all([
    user === null ? update() : load(user, state.chosen),
    showPopular(),
    showSearch(at("model").value),
  ]);
}

at("request").addEventListener("submit", (event) => {
  event.preventDefault();
  update();
});
at("more").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = at("items").value;
  at("items").value = "";
  addItems(text.includes("\n") ? text.split("\n") : text.split(",").map((part) => part.trim()));
});
at("clear").addEventListener("click", () => {
  setItems([]);
  update();
});
at("model").addEventListener("change", () => {
  update();
  showPopular();
  showSearch(at("model").value);
});
at("against").addEventListener("change", update);
at("load").addEventListener("click", () => load(at("user").value));
at("random").addEventListener("click", () => load(null));
at("older").addEventListener("click", () => {
  state.all = true;
  show();
});
startSearch(
  () => at("model").value,
  (item) => addItems([item]),
);
start();
