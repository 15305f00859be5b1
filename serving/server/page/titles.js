// Titles of items, which only a model with an items file has.

import { hasDescriptions } from "./models.js";
import { describe } from "./server.js";

const titles = new Map(),
  untitled = new Set();
let learnt = "";

export async function learnTitles(references, items) {
  if (learnt !== references.join(" ")) forget(references);
  for (const reference of references) {
    const asked = [...new Set(items)].filter((item) => !titles.get(item));
    if (asked.length && hasDescriptions(reference) && !untitled.has(reference))
      await learnFrom(reference, asked);
  }
  // Stores items without a title too, so that they are not requested again.
  for (const item of items) knowTitle(item, titleOf(item));
}

export function knowTitle(item, title) {
  titles.set(item, title);
}

export function titleOf(item) {
  return titles.get(item) || item;
}

function forget(references) {
  titles.clear();
  untitled.clear();
  learnt = references.join(" ");
}

async function learnFrom(reference, items) {
  try {
    (await describe(reference, items)).forEach(({ title }, place) => {
      if (title) knowTitle(items[place], title);
    });
  } catch (error) {
    untitled.add(reference);
  }
}
