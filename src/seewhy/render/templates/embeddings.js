"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const [svg, slider, shownName, about, play, words, trail, chosenWords, texts] =
  ["map", "layer", "name", "about", "play", "words", "trail", "chosen", "texts"].map((id) => document.getElementById(id));
const MARKS = {
  question: "M0-4.6A4.6 4.6 0 1 1 0 4.6A4.6 4.6 0 1 1 0-4.6Z", context: "M-4-4H4V4H-4Z", answer: "M0-6.2L5.8 4.6H-5.8Z",
  special: "M-5-3.2L-3.2-5L0-1.8L3.2-5L5-3.2L1.8 0L5 3.2L3.2 5L0 1.8L-3.2 5L-5 3.2L-1.8 0Z",
};
MARKS.text = MARKS.question;
MARKS.pair = MARKS.context;
const FIRST = { answer: 0, question: 1, text: 1, context: 2, pair: 2, special: 3 };
const MOST = 260;
const MARGIN = 56;
let now = Number(slider.value);
let chosen = -1;
let hovered = -1;
let size = [900, 620];
let timer = 0;

function make(tag, attributes, parent) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (parent) parent.append(made);
  return made;
}

const under = make("g", {}, svg);
const over = make("g", {}, svg);
const ruler = document.createElement("canvas").getContext("2d");
ruler.font = `12px ${getComputedStyle(document.body).fontFamily}`;
const points = data.points.map(([text, role, known, begins], number) => {
  const group = make("g", { class: `point ${role}${known ? "" : " unknown"}`, "data-point": number }, over);
  const line = make("line", {}, group);
  make("path", { class: "mark", d: MARKS[role] }, group);
  const label = make("text", {}, group);
  const short = text.length > 26 ? `${text.slice(0, 25)}…` : text;
  label.textContent = begins ? short : `·${short}`;
  make("title", {}, group).textContent = text;
  return { group, line, label, text, role, wide: ruler.measureText(label.textContent).width + 5 };
});
for (const key of document.querySelectorAll(".key")) {
  const role = Object.keys(MARKS).find((name) => key.classList.contains(name));
  if (role) key.querySelector("path").setAttribute("d", MARKS[role]);
}
const order = points.map((_, number) => number).sort((a, b) => FIRST[points[a].role] - FIRST[points[b].role] || a - b);

function placeOf(layer, number) {
  const [x, y] = data.layers[layer].points[number];
  const scale = scaleOf(layer);
  return [size[0] / 2 + x * scale[0] + scale[1], size[1] / 2 - y * scale[0] - scale[2]];
}

const scales = new Map();
function scaleOf(layer) {
  if (!scales.has(layer)) {
    const all = data.common ? data.layers.flatMap((one) => one.points) : data.layers[layer].points;
    const reach = [0, 1].map((axis) => Math.max(1, ...all.map((point) => Math.abs(point[axis]))));
    scales.set(layer, [Math.min((size[0] / 2 - MARGIN) / reach[0], (size[1] / 2 - MARGIN / 2) / reach[1]), 0, 0]);
  }
  return scales.get(layer);
}

function free(box, taken) {
  return box[0] >= 0 && box[1] >= 0 && box[2] <= size[0] && box[3] <= size[1] &&
    !taken.some((one) => box[0] < one[2] && box[2] > one[0] && box[1] < one[3] && box[3] > one[1]);
}

function labelled(places) {
  const taken = [];
  const found = new Array(points.length).fill(null);
  for (const number of order.slice(0, MOST)) {
    const [x, y] = places[number];
    const width = points[number].wide;
    let best = null;
    search: for (let ring = 0; ring < 9; ring++) {
      const away = 7 + ring * 11;
      for (let turn = 0; turn < 16; turn++) {
        const angle = Math.ceil(turn / 2) * (turn % 2 ? 1 : -1) * Math.PI / 8;
        const left = x + Math.cos(angle) * away + (Math.cos(angle) - 1) / 2 * width;
        const top = y + Math.sin(angle) * away + (Math.sin(angle) - 1) / 2 * 14;
        const box = [left, top, left + width, top + 14];
        if (!free(box, taken)) continue;
        const hidden = places.reduce((sum, [a, b], other) =>
          sum + (other !== number && a > box[0] - 4 && a < box[2] + 4 && b > box[1] - 3 && b < box[3] + 3), 0);
        if (!best || hidden < best.hidden) best = { box, hidden };
        if (!hidden) break search;
      }
    }
    if (best) { taken.push(best.box); found[number] = best.box; }
  }
  return found;
}

function draw(moving) {
  const layer = data.layers[now];
  svg.classList.toggle("moving", Boolean(moving));
  shownName.textContent = layer.name;
  about.textContent = layer.about;
  slider.setAttribute("aria-valuetext", layer.name);
  const places = points.map((_, number) => placeOf(now, number));
  const boxes = words.checked && !layer.flat ? labelled(places) : new Array(points.length).fill(null);
  points.forEach((one, number) => {
    const [x, y] = places[number];
    one.group.setAttribute("style", `transform: translate(${x.toFixed(1)}px, ${y.toFixed(1)}px)`);
    put(one, boxes[number], x, y);
  });
  over.style.display = layer.flat ? "none" : "";
  mark();
  for (const line of document.querySelectorAll(".now")) {
    const dot = line.parentNode.querySelectorAll("circle")[now];
    for (const end of ["x1", "x2"]) line.setAttribute(end, dot ? dot.dataset.x : -99);
  }
}

function put(one, box, x, y) {
  one.label.style.display = box ? "" : "none";
  one.line.style.display = "none";
  if (!box) return;
  one.label.setAttribute("x", (box[0] - x + 2).toFixed(1));
  one.label.setAttribute("y", (box[1] - y + 11).toFixed(1));
  const [edgeX, edgeY] = [Math.min(Math.max(x, box[0]), box[2]) - x, Math.min(Math.max(y, box[1]), box[3]) - y];
  if (Math.hypot(edgeX, edgeY) > 11) {
    one.line.style.display = "";
    one.line.setAttribute("x2", edgeX.toFixed(1));
    one.line.setAttribute("y2", edgeY.toFixed(1));
  }
}

function mark() {
  const layer = data.layers[now];
  const focus = hovered >= 0 ? hovered : chosen;
  const near = focus >= 0 && !layer.flat ? layer.near[focus] : [];
  under.replaceChildren();
  svg.classList.toggle("faded", focus >= 0);
  for (const token of texts.querySelectorAll(".token")) {
    const number = Number(token.dataset.point);
    token.classList.toggle("chosen", number === focus);
    token.classList.toggle("near", near.includes(number));
    token.setAttribute("aria-pressed", String(number === chosen));
  }
  points.forEach((one, number) => {
    one.group.classList.toggle("chosen", number === focus);
    one.group.classList.toggle("near", near.includes(number));
    if (number === focus && one.label.style.display === "none" && !layer.flat) {
      const [x, y] = placeOf(now, number);
      put(one, [Math.min(x + 7, size[0] - one.wide), y - 7, 0, 0].map((value, place) =>
        place === 2 ? Math.min(x + 7, size[0] - one.wide) + one.wide : place === 3 ? y + 7 : value), x, y);
    }
  });
  if (layer.flat) make("text", { class: "said-flat", x: size[0] / 2, y: size[1] / 2 }, under).textContent = layer.about;
  if (focus < 0) {
    chosenWords.textContent = "Choose a word, in the text or in the picture, to follow it over the layers.";
    return;
  }
  const [x, y] = placeOf(now, focus);
  for (const other of near) {
    const [a, b] = placeOf(now, other);
    make("line", { class: "tie", x1: x, y1: y, x2: a, y2: b }, under);
  }
  if (trail.checked) drawTrail(focus);
  const listed = near.map((other) => points[other].text).join(", ");
  chosenWords.textContent = near.length ? `“${points[focus].text}” is nearest to: ${listed}` : `“${points[focus].text}”`;
}

function drawTrail(focus) {
  const stops = data.layers.map((_, layer) => placeOf(layer, focus));
  make("polyline", { class: "path", points: stops.map((stop) => stop.map((value) => value.toFixed(1)).join(",")).join(" ") }, under);
  stops.forEach(([x, y], layer) => {
    make("circle", { class: "path", cx: x, cy: y, r: 3 }, under);
    make("text", { class: "path-stop", x: x + 6, y: y - 6 }, under).textContent = data.layers[layer].name.replace("Layer ", "");
  });
}

function show(layer) {
  now = Math.min(Math.max(layer, 0), data.layers.length - 1);
  slider.value = now;
  draw(true);
}

function choose(number) {
  chosen = number === chosen ? -1 : number;
  hovered = -1;
  const tokens = [...texts.querySelectorAll(".token")];
  const own = tokens.find((token) => Number(token.dataset.point) === chosen);
  if (own) tokens.forEach((token) => { token.tabIndex = token === own ? 0 : -1; });
  mark();
}

function stop() {
  clearInterval(timer);
  timer = 0;
  play.textContent = "Play";
}

slider.addEventListener("input", () => { stop(); show(Number(slider.value)); });
play.addEventListener("click", () => {
  if (timer) return stop();
  play.textContent = "Pause";
  show(now === data.layers.length - 1 ? 0 : now + 1);
  timer = setInterval(() => (now === data.layers.length - 1 ? stop() : show(now + 1)), 1100);
});
words.addEventListener("change", () => draw(false));
trail.addEventListener("change", mark);
for (const holder of [texts, svg]) {
  holder.addEventListener("click", (event) => {
    const own = event.target.closest("[data-point]");
    if (own) choose(Number(own.dataset.point));
    else if (holder === svg && chosen >= 0) choose(chosen);
  });
  holder.addEventListener("mouseover", (event) => {
    const own = event.target.closest("[data-point]");
    const number = own ? Number(own.dataset.point) : -1;
    if (number !== hovered) { hovered = number; mark(); }
  });
  holder.addEventListener("mouseleave", () => { if (hovered >= 0) { hovered = -1; mark(); } });
}
const tokens = [...texts.querySelectorAll(".token")];
tokens.forEach((token, place) => { token.tabIndex = place ? -1 : 0; token.setAttribute("role", "button"); });
texts.addEventListener("keydown", (event) => {
  const place = tokens.indexOf(document.activeElement);
  if (place < 0) return;
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -place, End: tokens.length - 1 - place }[event.key];
  if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    choose(Number(tokens[place].dataset.point));
  } else if (step !== undefined) {
    event.preventDefault();
    const next = tokens[Math.min(Math.max(place + step, 0), tokens.length - 1)];
    tokens[place].tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
    hovered = Number(next.dataset.point);
    mark();
  } else if (event.key === "Escape") {
    if (chosen >= 0) choose(chosen);
    hovered = -1;
    mark();
  }
});
texts.addEventListener("focusout", () => { if (hovered >= 0) { hovered = -1; mark(); } });

function fit() {
  const width = Math.max(280, Math.round(svg.clientWidth || 900));
  const height = Math.round(Math.min(Math.max(width * 0.62, 340), Math.max(420, window.innerHeight * 0.8)));
  if (width === size[0] && height === size[1]) return;
  size = [width, height];
  scales.clear();
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  draw(false);
}
if ("ResizeObserver" in window) new ResizeObserver(fit).observe(svg.parentNode);
svg.setAttribute("viewBox", `0 0 ${size[0]} ${size[1]}`);
fit();
draw(false);
