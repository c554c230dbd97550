"use strict";
// The data: see fsession/sinks/html.py. Text from the trace only ever becomes textContent.
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const ROW = 20;          // pixels of a level of the flame graph
const PAGE = 200;        // trees shown at a time
let query = "";

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function time(ns) {
  for (const [size, unit] of [[1e9, "s"], [1e6, "ms"], [1e3, "µs"]]) {
    if (ns >= size) return (ns / size).toFixed(1) + unit;
  }
  return Math.round(ns) + "ns";
}

/** The text with what is searched for marked. */
function marked(text) {
  const out = document.createDocumentFragment();
  const low = text.toLowerCase();
  let at = 0;
  for (let next; query && (next = low.indexOf(query, at)) >= 0; at = next + query.length) {
    out.append(text.slice(at, next), element("mark", {}, text.slice(next, next + query.length)));
  }
  out.append(text.slice(at));
  return out;
}

const number = (text) => element("td", { className: "number" }, text);

// -- summary -------------------------------------------------------------------------------------

byId("summary").textContent = data.summary;
byId("summary").classList.toggle("bad", data.incomplete);
byId("theme").onclick = () => {
  const root = document.documentElement;
  const dark = getComputedStyle(root).colorScheme === "dark" ||
    (!root.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
  root.dataset.theme = dark ? "light" : "dark";
};

// -- flame graph ---------------------------------------------------------------------------------

const whole = { name: "all", total: data.stacks.reduce((sum, item) => sum + item.total, 0), self: 0, calls: 0, children: data.stacks };
let zoomed = [whole];

function color(name) {
  let hash = 0;
  for (const letter of name) hash = (hash * 31 + letter.codePointAt(0)) % 997;
  return `hsl(${20 + hash % 45} ${70 + hash % 20}% ${62 + hash % 13}%)`;
}

function levels(frame) {
  return 1 + Math.max(0, ...frame.children.map(levels));
}

function drawFlame() {
  const flame = byId("flame");
  flame.replaceChildren();
  const top = zoomed.at(-1);
  flame.style.height = ROW * levels(top) + "px";
  const draw = (frame, left, width, level, path) => {
    if (width * flame.clientWidth < 1.5) return;
    const label = `${frame.name}  ${time(frame.total)}`;
    const box = element("button", { className: "frame", type: "button", textContent: label,
      title: `${frame.name}\n${time(frame.total)} in all, ${time(frame.self)} in itself` + (frame.calls ? `, ${frame.calls} calls` : "") });
    Object.assign(box.style, { left: 100 * left + "%", width: 100 * width + "%", top: ROW * level + "px", background: color(frame.name) });
    if (query) box.classList.add(frame.name.toLowerCase().includes(query) ? "found" : "dim");
    box.onclick = () => { zoomed = path; drawFlame(); };
    flame.append(box);
    let from = left;
    for (const child of frame.children) {
      const share = frame.total ? width * child.total / frame.total : 0;
      draw(child, from, share, level + 1, [...path, child]);
      from += share;
    }
  };
  draw(top, 0, 1, 0, zoomed);
  byId("crumbs").replaceChildren(...zoomed.slice(0, -1).flatMap((frame, at) => [
    element("button", { type: "button", textContent: frame.name, onclick: () => { zoomed = zoomed.slice(0, at + 1); drawFlame(); } }), " › ",
  ]), zoomed.length > 1 ? top.name : "");
}

// -- durations -----------------------------------------------------------------------------------

function drawHistogram() {
  const shown = data.functions[byId("function").value];
  const box = byId("histogram");
  box.replaceChildren();
  if (!shown) return;
  const powers = Object.keys(shown.buckets).map(Number);
  const most = Math.max(...Object.values(shown.buckets));
  for (let power = Math.min(...powers); power <= Math.max(...powers); power++) {
    const count = shown.buckets[power] || 0;
    const bar = element("div", { className: "bar" });
    bar.style.width = 100 * count / most + "%";
    bar.style.visibility = count ? "visible" : "hidden";
    const from = time(power ? 2 ** (power - 1) : 0);
    box.append(element("div", { className: "bucket" },
      element("span", {}, `${from} to ${time(2 ** power)}`), bar, element("span", {}, String(count))));
  }
}

data.functions.forEach((item, at) => byId("function").append(element("option", { value: at, textContent: item.name })));
byId("function").onchange = drawHistogram;

// -- functions and slowest calls -----------------------------------------------------------------

const columns = [(f) => f.name, (f) => f.calls, (f) => f.total, (f) => f.self, (f) => f.total / f.calls, (f) => f.max, (f) => f.errors];
let sorted = 2;

function drawFunctions() {
  const key = columns[sorted];
  const rows = data.functions.filter((item) => item.name.toLowerCase().includes(query))
    .sort((one, other) => sorted ? key(other) - key(one) : one.name.localeCompare(other.name));
  byId("functions").tBodies[0].replaceChildren(...rows.map((item) => element("tr", {},
    element("td", {}, element("code", {}, marked(item.name))), number(String(item.calls)), number(time(item.total)),
    number(time(item.self)), number(time(item.total / item.calls)), number(time(item.max)),
    element("td", { className: item.errors ? "number error" : "number" }, String(item.errors)))));
}

byId("functions").querySelectorAll("th").forEach((head, at) => { head.onclick = () => { sorted = at; drawFunctions(); }; });

function drawSlowest() {
  byId("slowest").tBodies[0].replaceChildren(...data.slowest.filter(matches).map((call) => element("tr", {},
    number(time(call.took)), element("td", {}, call.time), element("td", {}, marked(call.task)), number(String(call.cpu)),
    element("td", {}, element("code", {}, ...words(call))))));
}

// -- calls ---------------------------------------------------------------------------------------

const haystack = (call) => `${call.name}(${call.args}) = ${call.ret} ${call.task} ${call.prints}`.toLowerCase();
const matches = (call) => !query || haystack(call).includes(query);

function words(call) {
  const parts = [marked(`${call.name}(${call.args})`)];
  if (call.ret !== null) parts.push(" = ", element("span", { className: call.failed ? "error" : "" }, marked(call.ret)));
  if (call.prints) parts.push(element("div", { className: "prints" }, marked(call.prints)));
  return parts;
}

const contains = (call) => matches(call) || call.children.some(contains);
let shownTrees = PAGE;

function callRow(call, depth, open) {
  const box = element("div", { role: "treeitem" });
  const toggle = element("button", { className: "toggle", type: "button", textContent: call.children.length ? "▸" : "" });
  const text = element("span", {}, toggle, ...words(call));
  text.style.paddingLeft = 1.4 * depth + "em";
  const row = element("div", { className: "call" },
    element("span", { className: "took" }, time(call.took)),
    element("span", { className: "who" }, depth ? "" : `${call.time} ${call.task} cpu ${call.cpu}`), text);
  box.append(row);
  let inner = null;
  const set = (wanted) => {
    toggle.textContent = wanted ? "▾" : "▸";
    toggle.setAttribute("aria-expanded", wanted);
    if (wanted && !inner) {
      inner = element("div", { role: "group" }, ...call.children.map((child) => callRow(child, depth + 1, open)));
      box.append(inner);
    }
    if (inner) inner.hidden = !wanted;
  };
  if (call.children.length) {
    toggle.onclick = () => set(toggle.textContent === "▸");
    toggle.setAttribute("aria-label", "Calls that it made");
    set(open && (!query || call.children.some(contains)));
  }
  return box;
}

function drawCalls() {
  const found = query ? data.trees.filter(contains) : data.trees;
  byId("calls").replaceChildren(...found.slice(0, shownTrees).map((tree) => callRow(tree, 0, Boolean(query) || found.length <= 20)));
  byId("more").hidden = found.length <= shownTrees;
  byId("found").textContent = query ? `${found.length} of ${data.trees.length} listed` : "";
}

byId("more").onclick = () => { shownTrees += PAGE; drawCalls(); };
byId("listed").textContent = data.listed < data.calls ? `the first ${data.listed} of ${data.calls}` : `all ${data.calls}`;

function drawAll() {
  drawFlame();
  drawFunctions();
  drawSlowest();
  drawCalls();
}

byId("search").oninput = (event) => {
  query = event.target.value.trim().toLowerCase();
  shownTrees = PAGE;
  drawAll();
};
addEventListener("resize", drawFlame);
drawHistogram();
drawAll();
