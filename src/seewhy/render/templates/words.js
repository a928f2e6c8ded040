"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const [slider, shownName, kind, order, scale, said, map, low, high, pair] =
  ["layer", "name", "kind", "order", "scale", "said", "map", "low", "high", "pair"].map((id) => document.getElementById(id));
const MANY = 40;

function make(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function ends(layers, name) {
  let [least, most] = [Infinity, -Infinity];
  for (const layer of layers) {
    layer[name].forEach((row, one) => row.forEach((value, other) => {
      if (one === other || value === null) return;
      least = Math.min(least, value);
      most = Math.max(most, value);
    }));
  }
  return least <= most ? [least, most] : [0, 1];
}

function words(value) {
  return value === null ? "–" : Math.abs(value) < 10 ? value.toFixed(2).replace("-", "−") : value.toFixed(1);
}

function light(colour) {
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  return 0.299 * red + 0.587 * green + 0.114 * blue > 140;
}

function sense(number) {
  const found = data.uses[number][3];
  return found < 0 ? "" : make("i", `sense s${found}`);
}

function sentence(number, plain) {
  const [before, word, after] = data.uses[number];
  const spaced = (left, right) => (left && right && !/[\u2e80-\uffff]$/.test(left) && /^[\p{L}\p{N}]/u.test(right) ? " " : "");
  if (plain) return `${before}${spaced(before, word)}${word}${spaced(word, after)}${after}`;
  const made = make("span");
  made.dir = "auto";
  made.append(before + spaced(before, word), make("b", "", word), spaced(word, after) + after);
  return made;
}

function draw() {
  const now = Number(slider.value);
  const layer = data.layers[now];
  const last = data.layers[data.layers.length - 1];
  const places = order.value === "own" ? layer.order : order.value === "last" ? last.order : data.uses.map((_, place) => place);
  const [least, most] = ends(scale.value === "one" ? data.layers : [layer], kind.value);
  const values = layer[kind.value];
  shownName.textContent = layer.name;
  slider.setAttribute("aria-valuetext", layer.name);
  said.textContent = layer.words;
  map.replaceChildren();
  map.className = places.length > MANY ? "many" : "";
  const head = map.createTHead().insertRow();
  head.append(make("td"));
  for (const column of places) {
    const cell = make("th", "", places.length > MANY ? "" : String(column + 1));
    cell.scope = "col";
    cell.append(sense(column));
    cell.title = sentence(column, true);
    head.append(cell);
  }
  const body = map.createTBody();
  for (const one of places) {
    const row = body.insertRow();
    const name = make("th");
    name.scope = "row";
    name.append(make("span", "number-of", String(one + 1)), sense(one), sentence(one));
    name.title = sentence(one, true);
    row.append(name);
    for (const other of places) {
      const value = values[one][other];
      const cell = row.insertCell();
      cell.textContent = words(value);
      if (value === null) continue;
      const share = Math.min(Math.max((value - least) / (most - least || 1), 0), 1);
      const alike = kind.value === "distance" ? 1 - share : share;
      const colour = data.colours[Math.round(alike * (data.colours.length - 1))];
      cell.style.background = colour;
      cell.style.color = light(colour) ? "#111" : "#fff";
      cell.dataset.one = one;
      cell.dataset.other = other;
    }
  }
  const [dark, bright] = kind.value === "distance" ? [most, least] : [least, most];
  low.textContent = words(dark);
  high.textContent = words(bright);
  for (const line of document.querySelectorAll(".now")) {
    const dot = line.parentNode.querySelectorAll("circle")[now];
    for (const end of ["x1", "x2"]) line.setAttribute(end, dot.dataset.x);
  }
}

map.addEventListener("mouseover", (event) => {
  const cell = event.target.closest("td[data-one]");
  for (const other of map.querySelectorAll(".on")) other.classList.remove("on");
  pair.textContent = "";
  if (!cell) return;
  cell.classList.add("on");
  cell.parentNode.classList.add("on");
  map.tHead.rows[0].cells[cell.cellIndex].classList.add("on");
  const layer = data.layers[Number(slider.value)];
  const [one, other] = [Number(cell.dataset.one), Number(cell.dataset.other)];
  pair.append(`Cosine similarity ${words(layer.similarity[one][other])}, Euclidean distance ${words(layer.distance[one][other])}: `,
    sentence(one), " — ", sentence(other));
});
for (const control of [slider, kind, order, scale]) control.addEventListener("input", draw);
document.querySelector(".ramp").style.background = `linear-gradient(to right, ${[0, 0.25, 0.5, 0.75, 1]
  .map((share) => data.colours[Math.round(share * (data.colours.length - 1))]).join(", ")})`;
draw();
