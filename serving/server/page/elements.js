// Makes elements of the page, and writes and draws numbers.

export const at = (id) => document.getElementById(id);

export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

// A button with a name for screen readers. The key identifies it after its row is rebuilt.
export function button(text, name, key, onclick, properties = {}) {
  const made = element("button", { type: "button", textContent: text, onclick, ...properties });
  made.setAttribute("aria-label", name);
  made.dataset.key = key;
  return made;
}

export function heads(table, texts) {
  const made = texts.map(([text, className = ""]) =>
    element("th", { scope: "col", className }, element("span", { textContent: text })),
  );
  table.tHead.rows[0].replaceChildren(...made);
}

export function digits(value) {
  if (value === 0) return "0";
  return Math.abs(value) < 1e-3 ? Number(value).toExponential(3) : Number(value).toPrecision(4);
}

// A number with its noun, singular or plural.
export function counted(count, one) {
  return count + " " + one + (count === 1 ? "" : "s");
}

export function signed(value) {
  return (value > 0 ? "+" : "") + digits(value);
}

// A bar from the left edge, or, if both, from the middle to either side.
export function bar(value, most, both) {
  const share = (Math.abs(value) / most) * (both ? 50 : 100);
  const inner = element("span", { className: value < 0 ? "less" : "" });
  inner.style.width = share + "%";
  inner.style.left = both ? (value < 0 ? 50 - share : 50) + "%" : "0";
  const made = element("div", { className: both ? "bar both" : "bar" }, inner);
  made.setAttribute("aria-hidden", "true");
  return made;
}

export function largest(values) {
  return values.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-30);
}

// Runs work, which rebuilds rows, and gives the focus to the new element with the same key.
export function keepingFocus(work, otherwise) {
  const key = document.activeElement && document.activeElement.dataset.key;
  work();
  const next =
    key && [...document.querySelectorAll("[data-key]")].find((one) => one.dataset.key === key);
  if (next) next.focus();
  else if (key) otherwise.focus();
}
