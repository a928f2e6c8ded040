"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const [tree, bar, field, count, which, keys] = ["tree", "bar", "search", "count", "which", "keys"].map((id) => document.getElementById(id));
const FAINT = 0.005;
const FEW = 60;
const nodes = data.nodes.map(([name, parent, leaf, synset], place) => ({ place, name, parent, leaf, synset, children: [], classes: 0, level: 0 }));
for (const node of nodes) {
  if (node.parent < 0) continue;
  nodes[node.parent].children.push(node.place);
  node.level = nodes[node.parent].level + 1;
}
for (const node of [...nodes].reverse()) {
  if (node.leaf >= 0) node.classes = 1;
  if (node.parent >= 0) nodes[node.parent].classes += node.classes;
}
const items = new Map();
let reading = data.readings[0] ?? null;
let parted = false;
let marks = new Map();
let current = 0;
let hits = [];
let hit = -1;

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function percent(share) {
  if (share <= 0) return "0%";
  if (share >= 1) return "100%";
  if (share < 0.0001) return "<0.01%";
  return share > 0.9999 ? ">99.99%" : `${(100 * share).toFixed(2)}%`;
}

function classes(node) {
  return node.leaf >= 0 ? "" : node.classes === 1 ? "1 class" : `${node.classes} classes`;
}

function choose(one) {
  reading = one;
  marks = new Map();
  parted = false;
  if (!reading) return;
  const { soft, ...others } = reading.paths;
  parted = Object.values(others).some((path) => path.at(-1) !== soft.at(-1));
  for (const [walk, path] of Object.entries(reading.paths)) for (const place of path) marks.set(place, [...(marks.get(place) ?? []), walk]);
}

function row(node) {
  const made = element("div", "row");
  made.append(element("span", "twist", node.children.length ? "▶" : ""), element("span", "name", node.name));
  if (reading) {
    const walks = element("span", "marks");
    const here = marks.get(node.place) ?? [];
    const all = Object.keys(reading.paths).length;
    if (parted && here.length && here.length < all) {
      for (const walk of here) walks.append(element("span", `badge ${walk}`, walk === "network" ? "network" : `${walk} tree`));
    }
    const meter = element("span", "meter");
    const fill = element("span");
    fill.style.width = `${100 * reading.turns[node.place]}%`;
    meter.append(fill);
    meter.setAttribute("aria-hidden", "true");
    made.append(walks, element("span", "gap"), meter, element("span", "number", percent(reading.turns[node.place])),
      element("span", "number reached", percent(reading.reach[node.place])));
  }
  made.append(element("span", "under", classes(node)));
  made.title = [node.synset, node.leaf >= 0 ? `class ${node.leaf}` : "", reading ? `reached with ${percent(reading.reach[node.place])}` : ""].filter(Boolean).join(", ");
  return made;
}

function spoken(node) {
  const here = reading ? marks.get(node.place) ?? [] : [];
  const walks = here.length ? `on the path of ${here.map((walk) => (walk === "network" ? "the network" : `the ${walk} tree`)).join(", ")}` : "";
  return [node.name, reading ? percent(reading.turns[node.place]) : "", classes(node), walks].filter(Boolean).join(", ");
}

function item(node, position, size) {
  const made = element("li", node.leaf >= 0 ? "leaf" : "");
  made.setAttribute("role", "treeitem");
  made.setAttribute("aria-level", node.level + 1);
  made.setAttribute("aria-posinset", position + 1);
  made.setAttribute("aria-setsize", size);
  made.setAttribute("aria-label", spoken(node));
  made.tabIndex = -1;
  if (node.children.length) made.setAttribute("aria-expanded", "false");
  if (reading) {
    const here = marks.get(node.place) ?? [];
    made.classList.toggle("on-soft", here.includes("soft"));
    made.classList.toggle("on-other", here.length > 0 && !here.includes("soft"));
    made.classList.toggle("faint", reading.reach[node.place] < FAINT && !here.length);
  }
  made.dataset.place = node.place;
  made.append(row(node));
  items.set(node.place, made);
  return made;
}

function open(place) {
  const node = nodes[place];
  const held = items.get(place);
  if (!node.children.length || held.getAttribute("aria-expanded") === "true") return;
  held.setAttribute("aria-expanded", "true");
  if (held.children.length > 1) held.lastChild.hidden = false;
  else {
    const group = element("ul");
    group.setAttribute("role", "group");
    group.append(...node.children.map((child, position) => item(nodes[child], position, node.children.length)));
    held.append(group);
  }
}

function fold(place) {
  const held = items.get(place);
  if (!held || held.getAttribute("aria-expanded") !== "true") return;
  held.setAttribute("aria-expanded", "false");
  held.lastChild.hidden = true;
  if (held.contains(items.get(current)) && current !== place) step(place, document.activeElement?.closest("#tree") != null);
}

function way(place) {
  const above = [];
  for (let at = nodes[place].parent; at >= 0; at = nodes[at].parent) above.push(at);
  return above.reverse();
}

function step(place, focus = true) {
  items.get(current)?.setAttribute("tabindex", "-1");
  current = place;
  const held = items.get(place);
  held.tabIndex = 0;
  if (focus) held.focus({ preventScroll: true });
  held.firstChild.scrollIntoView({ block: "nearest" });
}

function show(place, focus) {
  way(place).forEach(open);
  items.get(current)?.setAttribute("tabindex", "-1");
  current = place;
  const held = items.get(place);
  held.tabIndex = 0;
  if (focus) held.focus({ preventScroll: true });
  held.firstChild.scrollIntoView({ block: "center" });
}

function unfoldPaths() {
  open(0);
  if (!reading) {
    for (const child of nodes[0].children) if (nodes.length < 60) unfoldAll(child);
    return;
  }
  for (const path of Object.values(reading.paths)) path.forEach(open);
}

function unfoldAll(from = 0) {
  for (let place = from; place < nodes.length && (place === from || nodes[place].level > nodes[from].level); place += 1) {
    if (nodes[place].children.length) open(place);
  }
}

function foldAll() {
  for (let place = nodes.length - 1; place > 0; place -= 1) fold(place);
}

function draw() {
  items.clear();
  tree.replaceChildren(item(nodes[0], 0, 1));
  tree.parentElement.classList.toggle("bare-tree", !reading);
  unfoldPaths();
  current = 0;
  items.get(0).tabIndex = 0;
  search();
}

function below(place) {
  const unfolded = items.get(place).getAttribute("aria-expanded") === "true";
  if (unfolded) return nodes[place].children[0];
  for (let at = place; nodes[at].parent >= 0; at = nodes[at].parent) {
    const siblings = nodes[nodes[at].parent].children;
    const next = siblings[siblings.indexOf(at) + 1];
    if (next !== undefined) return next;
  }
  return place;
}

function lowest(place) {
  let at = place;
  while (items.get(at).getAttribute("aria-expanded") === "true") at = nodes[at].children.at(-1);
  return at;
}

function above(place) {
  const { parent } = nodes[place];
  if (parent < 0) return place;
  const siblings = nodes[parent].children;
  const before = siblings[siblings.indexOf(place) - 1];
  return before === undefined ? parent : lowest(before);
}

const moves = {
  ArrowDown: () => step(below(current)),
  ArrowUp: () => step(above(current)),
  Home: () => step(0),
  End: () => step(lowest(0)),
  ArrowRight: () => {
    const state = items.get(current).getAttribute("aria-expanded");
    if (state === "false") open(current);
    else if (state === "true") step(nodes[current].children[0]);
  },
  ArrowLeft: () => {
    if (items.get(current).getAttribute("aria-expanded") === "true") fold(current);
    else if (nodes[current].parent >= 0) step(nodes[current].parent);
  },
  Enter: () => toggle(current),
  " ": () => toggle(current),
  "*": () => { for (const one of nodes[nodes[current].parent]?.children ?? [current]) open(one); },
};

function toggle(place) {
  if (items.get(place).getAttribute("aria-expanded") === "true") fold(place);
  else open(place);
}

tree.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !moves[event.key]) return;
  event.preventDefault();
  moves[event.key]();
});
tree.addEventListener("click", (event) => {
  const held = event.target.closest(".row")?.parentElement;
  if (!held) return;
  const place = Number(held.dataset.place);
  step(place);
  toggle(place);
});
tree.addEventListener("focusin", (event) => {
  const held = event.target.closest("[role=treeitem]");
  if (held && Number(held.dataset.place) !== current) step(Number(held.dataset.place), false);
});

function search() {
  for (const place of hits) items.get(place)?.classList.remove("hit", "now");
  const wanted = field.value.trim().toLowerCase();
  hits = [];
  hit = -1;
  if (wanted) {
    const number = /^\d+$/.test(wanted) ? Number(wanted) : null;
    hits = nodes.filter((node) => (number !== null && node.leaf === number) || node.name.toLowerCase().includes(wanted) || node.synset === wanted)
      .map((node) => node.place);
    if (number !== null) hits.sort((a, b) => (nodes[b].leaf === number) - (nodes[a].leaf === number) || a - b);
  }
  const shown = hits.length <= FEW ? hits : [];
  for (const place of shown) { way(place).forEach(open); items.get(place).classList.add("hit"); }
  if (hits.length) turn(1, false);
  else count.textContent = wanted ? "no such name" : `${nodes.length} nodes`;
}

function turn(by, focus) {
  if (!hits.length) return;
  items.get(hits[hit])?.classList.remove("now");
  hit = (hit + by + hits.length) % hits.length;
  show(hits[hit], focus);
  items.get(hits[hit]).classList.add("hit", "now");
  count.textContent = `${hit + 1} of ${hits.length}`;
}

let waiting = 0;
field.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(search, 120); });
field.addEventListener("keydown", (event) => {
  if (event.key === "Enter") { clearTimeout(waiting); if (hit < 0) search(); else turn(event.shiftKey ? -1 : 1, false); }
  else if (event.key === "Escape") { field.value = ""; search(); }
  else if (event.key === "ArrowDown" && hits.length) show(hits[hit], true);
  else return;
  event.preventDefault();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target.closest("input, select, textarea")) return;
  event.preventDefault();
  field.focus();
});
bar.addEventListener("submit", (event) => event.preventDefault());
const pressed = {
  next: () => turn(1, false),
  previous: () => turn(-1, false),
  unfold: () => unfoldAll(),
  fold: foldAll,
  "to-path": () => { foldAll(); unfoldPaths(); show(reading.paths.soft.at(-1), false); },
};
for (const [id, act] of Object.entries(pressed)) document.getElementById(id)?.addEventListener("click", act);
for (const button of document.querySelectorAll(".goto")) button.addEventListener("click", () => show(Number(button.dataset.node), true));

function pick(number) {
  document.querySelectorAll(".decision").forEach((section, place) => { section.hidden = place !== number; });
  document.querySelectorAll(".made").forEach((section, place) => { section.hidden = data.readings.length > 1 && Number(section.dataset.part) !== number; });
  choose(data.readings[number]);
  draw();
}

bar.hidden = false;
keys.hidden = false;
if (which) {
  document.body.classList.add("switched");
  which.addEventListener("change", () => pick(Number(which.value)));
  pick(Number(which.value));
} else {
  choose(reading);
  draw();
}
