"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const imaged = data.filters.some((one) => one.image >= 0);
const [field, order, list, count, shownClasses, holder, more] =
  ["search", "order", "list", "count", "classes", "filters", "more"].map((id) => document.getElementById(id));
const STEP = 40;
let found = [];
let weights = new Map();
let hits = new Set();
let drawn = 0;

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function search(text) {
  const wanted = text.trim().toLowerCase();
  weights = new Map();
  hits = new Set();
  if (!wanted) return data.filters.map((_, place) => place);
  if (/^\d+$/.test(wanted)) {
    const exact = data.filters.map((_, place) => place).filter((place) => String(data.filters[place].channel) === wanted);
    const longer = data.filters.map((_, place) => place)
      .filter((place) => String(data.filters[place].channel).startsWith(wanted) && !exact.includes(place));
    return [...exact, ...longer];
  }
  data.classes.forEach(([label, channels], index) => {
    if (!label.toLowerCase().includes(wanted)) return;
    hits.add(index);
    for (const [place, weight] of channels) weights.set(place, Math.max(weight, weights.get(place) ?? -Infinity));
  });
  return data.filters.map((_, place) => place)
    .filter((place) => weights.has(place) || data.filters[place].voices.some(([index]) => hits.has(index)));
}

function sorted(places) {
  const by = order.value;
  const value = {
    high: (one) => one.high, active: (one) => one.active, here: (one) => one.here,
    share: (one) => one.share?.[1] ?? -Infinity, class: (one, place) => weights.get(place) ?? -Infinity,
  }[by];
  if (!value) return [...places].sort((a, b) => data.filters[a].channel - data.filters[b].channel);
  return [...places].sort((a, b) => value(data.filters[b], b) - value(data.filters[a], a) || a - b);
}

function voice([index, weight, contribution]) {
  const line = element("span", weight.startsWith("−") ? "against" : "");
  line.append(element("b", "", weight.startsWith("−") ? weight : `+${weight}`), " ",
    element("span", hits.has(index) ? "hit" : "", data.classes[index][0]));
  line.lastChild.style.display = "inline";
  line.title = `weight ${weight}, times the mean pooled value ${contribution}`;
  return line;
}

function crop([picture, name, value, mark, box]) {
  const figure = element("figure", "crop");
  const hold = element("div", "hold");
  if (picture >= 0) {
    const frame = element("span", "box");
    const image = element("img");
    image.loading = "lazy";
    image.alt = "";
    image.addEventListener("load", () => { if (Math.max(image.naturalWidth, image.naturalHeight) < 80) image.className = "tiny"; });
    image.src = data.pictures[picture];
    frame.append(image);
    if (mark) {
      const line = element("i");
      const [top, left, bottom, right] = mark.map((share) => `${100 * share}%`);
      Object.assign(line.style, { top, left, bottom: `calc(100% - ${bottom})`, right: `calc(100% - ${right})` });
      frame.append(line);
    }
    hold.append(frame);
  } else hold.append(element("span", "", "left out"));
  const caption = element("figcaption");
  caption.append(element("b", "", value), element("span", "name", data.names[name].split(/[\\/]/).pop()));
  figure.title = data.names[name] + (box ? `, rows ${box[0]} to ${box[2]}, columns ${box[1]} to ${box[3]}` : "");
  figure.append(hold, caption);
  return figure;
}

function card(place) {
  const one = data.filters[place];
  const made = element("article", imaged ? "filter imaged" : "filter");
  const maps = element("div", "drawn");
  for (const [picture, words, className] of [[one.image, `drives it: mean ${one.driven}`, "made"], [one.map, "on the picture", ""]]) {
    if (picture < 0) continue;
    const image = element("img", className);
    image.src = data.pictures[picture];
    image.alt = words;
    maps.append(image, element("small", "", className ? words : `full colour ${one.full}`));
  }
  const facts = element("div");
  const head = element("h3", "", `Channel ${one.channel}`);
  if (one.state) head.append(element("span", "state", one.state));
  const [mean, maximum, low, high] = one.words;
  facts.append(head, element("p", "", `mean ${mean}, maxima ${maximum}`),
    element("p", "", `${low} to ${high}, above zero at ${(100 * one.active).toFixed(0)}%`));
  if (one.share !== null) facts.append(element("p", "", `gives the answer ${one.share[0]}`));
  const voices = element("p", "voices");
  voices.append(...one.voices.map(voice));
  facts.append(voices);
  const crops = element("div", "crops");
  crops.append(...one.lists[list.value].map(crop));
  made.append(maps, facts, crops);
  return made;
}

function draw() {
  const next = found.slice(drawn, drawn + STEP);
  holder.append(...next.map(card));
  drawn += next.length;
  more.hidden = drawn >= found.length;
}

function update() {
  found = sorted(search(field.value));
  drawn = 0;
  holder.replaceChildren();
  count.textContent = `${found.length} of ${data.filters.length} channels`;
  shownClasses.hidden = !hits.size;
  const named = [...hits].slice(0, 8).map((index) => data.classes[index][0]);
  shownClasses.textContent = `Channels with the largest weights for ${named.join("; ")}${hits.size > 8 ? ` and ${hits.size - 8} more classes` : ""}`;
  draw();
}

document.getElementById("bar").addEventListener("submit", (event) => event.preventDefault());
field.addEventListener("input", () => {
  const now = order.querySelector('[value="class"]');
  if (now && /[^\d\s]/.test(field.value) && order.value === "channel") order.value = "class";
  if (order.value === "class" && !/[^\d\s]/.test(field.value)) order.value = "channel";
  update();
});
for (const control of [order, list]) control.addEventListener("change", update);
more.addEventListener("click", draw);
if ("IntersectionObserver" in window) {
  new IntersectionObserver((seen) => { if (seen.some((one) => one.isIntersecting) && !more.hidden) draw(); }, { rootMargin: "800px" })
    .observe(more);
}
if (location.hash.length > 1) {
  field.value = decodeURIComponent(location.hash.slice(1));
  field.dispatchEvent(new Event("input"));
} else update();
