// Requests to the server. A model is named MODEL, MODEL:VERSION or MODEL:LABEL.

const separators = new Map();

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    throw new Error("The server does not answer; see whether it runs.");
  }
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

function post(path, content) {
  return ask(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(content),
  });
}

function pathOf(reference) {
  const [name, which] = reference.split(/:(.*)/s);
  const path = "/models/" + encodeURIComponent(name);
  if (which === undefined) return path;
  return path + (/^[0-9]+$/.test(which) ? "/versions/" : "/labels/") + encodeURIComponent(which);
}

// Joins each list of ids, so that rows need no padding. Every response names the separator of its
// model.
async function predict(reference, signature, lists, inputs, again = true) {
  const separator = separators.get(reference) || "\t",
    joined = {};
  for (const [name, ids] of Object.entries(lists)) {
    const broken = ids.find((id) => id.includes(separator));
    if (broken !== undefined)
      throw new Error(
        `The item ${JSON.stringify(broken)} has ${JSON.stringify(separator)}, ` +
          "which joins the items for this model; leave it out.",
      );
    joined[name] = ids.join(separator);
  }
  const body = { signature_name: signature, instances: [{ ...joined, ...inputs }] };
  const row = (await post("/v1" + pathOf(reference) + ":predict", body)).predictions[0];
  if (row.separator === separator) return row;
  separators.set(reference, row.separator);
  if (!again) throw new Error("The model has changed; ask again.");
  return predict(reference, signature, lists, inputs, false);
}

export async function recommend(reference, user, items, k) {
  const answer = await predict(
    reference,
    "recommend_joined",
    { history: items, exclude: [], allow: [] },
    { user_id: user, k },
  );
  const rows = answer.items
    .map((item, place) => ({ item, score: answer.scores[place] }))
    .filter((row) => row.item !== "");
  return { rows, source: answer.source, most: answer.k < k ? answer.k : null };
}

export async function explain(reference, user, items, item) {
  const answer = await predict(
    reference,
    "explain_joined",
    { history: items },
    { user_id: user, item },
  );
  // A batch pads its rows to the longest one.
  const own = (values) => values && values.slice(0, items.length);
  return {
    contribution: own(answer.contribution),
    attention: own(answer.attention),
    // Models of earlier exports do not have this output.
    known: answer.known !== false,
  };
}

export async function describe(reference, items) {
  const { description } = await predict(reference, "describe_joined", { candidates: items }, {});
  return items.map((_, place) => (description[place] ? JSON.parse(description[place]) : {}));
}

export const models = () => ask("/page/models");
export const search = (reference, text) => post("/page" + pathOf(reference) + ":search", { text });
export const userHistory = (user) => post("/page/history", { user });
