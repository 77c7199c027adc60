"use strict";
(() => {
const data = JSON.parse(document.getElementById("data").textContent);
const $ = id => document.getElementById(id);
const canvas = $("map"), pen = canvas.getContext("2d"), card = $("card"), image = $("image");
const count = data.x.length, EDGE = 12, REACH = 18, GREY = "#9aa1aa";
const name = k => data.label[k] < 0 ? "" : data.classes[data.label[k]];
const called = k => data.predicted.length && data.predicted[k] >= 0 ? data.classes[data.predicted[k]] : "";
const wrong = k => called(k) !== "" && name(k) !== "" && called(k) !== name(k);

/** What each way of colouring shows: the names of its groups, their colours, and the group of a cell. */
const MODES = {
  class: {names: data.classes, colours: data.colours, of: k => data.label[k]},
  predicted: {names: data.classes, colours: data.colours, of: k => data.predicted[k]},
  set: {names: data.sets, colours: data.set_colours, of: k => data.set[k]},
  mistake: {names: ["predicted as labelled", "predicted as another class"], colours: [GREY, "#D55E00"], of: k => called(k) === "" || name(k) === "" ? -1 : +wrong(k)},
};
let mode = MODES[document.querySelector("#by input:checked").value];
let only = -1;    // the group that is shown alone; -1 for all
let at = -1;      // the cell that is named; -1 for none
let size = 0;     // of the map in CSS pixels

// along the map from left to right: the order of "next"
const order = [...data.x.keys()].sort((a, b) => data.x[a] - data.x[b] || data.y[a] - data.y[b]);
// drawn in an order that has nothing to do with classes; mistakes last, so that none is hidden
const drawn = [...data.x.keys()].sort((a, b) => (a * 2654435761 >>> 0) - (b * 2654435761 >>> 0));

const left = k => EDGE + data.x[k] / 1000 * (size - 2 * EDGE);
const top = k => size - EDGE - data.y[k] / 1000 * (size - 2 * EDGE);
const visible = k => only < 0 || mode.of(k) === only;

function draw() {
  const ratio = window.devicePixelRatio || 1;
  size = canvas.clientWidth;
  canvas.width = canvas.height = Math.round(size * ratio);
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, size, size);
  const radius = Math.max(2, Math.min(4, 150 / Math.sqrt(count)));
  const dot = (k, colour, alpha, r) => {
    pen.globalAlpha = alpha;
    pen.fillStyle = colour;
    pen.beginPath();
    pen.arc(left(k), top(k), r, 0, 7);
    pen.fill();
  };
  const later = [];
  for (const k of drawn) {
    if (!visible(k)) dot(k, GREY, .16, radius);
    else if (mode === MODES.mistake && mode.of(k) === 1) later.push(k);
    else dot(k, mode.colours[mode.of(k)] || GREY, .8, radius);
  }
  for (const k of later) dot(k, mode.colours[1], 1, radius + .5);
  if (at >= 0) {
    pen.globalAlpha = 1;
    pen.strokeStyle = getComputedStyle(document.body).color;
    pen.lineWidth = 2;
    pen.beginPath();
    pen.arc(left(at), top(at), radius + 5, 0, 7);
    pen.stroke();
  }
}

function words(k) {
  const parts = [];
  if (name(k)) parts.push(name(k));
  if (called(k)) parts.push(wrong(k) || !name(k) ? `predicted as ${called(k)}` : "predicted as such");
  if (data.sets.length > 1) parts.push(`from ${data.sets[data.set[k]]}`);
  if (data.ids.length) parts.push(data.ids[k]);
  return parts.join(", ") || "cell";
}

function show(k) {
  at = k;
  card.hidden = k < 0;
  if (k >= 0) {
    $("text").textContent = words(k);
    card.querySelector("span").textContent = words(k);
    const tile = data.tile[k];
    image.hidden = tile < 0;
    if (tile >= 0) {
      const side = image.clientWidth || 122, across = data.across;
      image.style.backgroundImage = `url(${data.sprite})`;
      image.style.backgroundSize = `${side * across}px ${side * data.down}px`;
      image.style.backgroundPosition = `${-side * (tile % across)}px ${-side * Math.floor(tile / across)}px`;
      image.setAttribute("aria-label", words(k));
    }
    // beside the cell, on the side where there is room
    const x = left(k), y = top(k), width = card.offsetWidth, height = card.offsetHeight;
    card.style.left = `${x < size / 2 ? Math.min(x + 14, size - width) : Math.max(0, x - 14 - width)}px`;
    card.style.top = `${Math.max(0, Math.min(y - height / 2, size - height))}px`;
  }
  draw();
}

function nearest(x, y, reach) {
  let found = -1, best = reach * reach;
  for (let k = 0; k < count; k++) {
    if (!visible(k)) continue;
    const d = (left(k) - x) ** 2 + (top(k) - y) ** 2;
    if (d <= best) { best = d; found = k; }
  }
  return found;
}

function under(event) {
  const box = canvas.getBoundingClientRect();
  return nearest(event.clientX - box.left, event.clientY - box.top, event.pointerType === "touch" ? 2 * REACH : REACH);
}

/** The nearest cell in a direction: how far it lies ahead counts once, how far beside it three times. */
function ahead(dx, dy) {
  if (at < 0 || !visible(at)) return nearest(size / 2, size / 2, 9 * size);
  let found = at, best = Infinity;
  for (let k = 0; k < count; k++) {
    if (k === at || !visible(k)) continue;
    const x = left(k) - left(at), y = top(k) - top(at);
    const along = x * dx + y * dy, beside = Math.abs(x * dy - y * dx);
    if (along <= 0 || beside > 2 * along) continue;
    const d = along + 3 * beside;
    if (d < best) { best = d; found = k; }
  }
  return found;
}

function step(by) {
  const those = order.filter(visible);
  if (!those.length) return;
  const place = those.indexOf(at);
  show(those[place < 0 ? (by > 0 ? 0 : those.length - 1) : (place + by + those.length) % those.length]);
}

function legend() {
  const counts = mode.names.map(() => 0);
  for (let k = 0; k < count; k++) if (mode.of(k) >= 0) counts[mode.of(k)]++;
  $("legend").replaceChildren(...mode.names.map((text, place) => {
    const button = document.createElement("button"), mark = document.createElement("i"), many = document.createElement("small");
    button.type = "button";
    mark.style.background = mode.colours[place];
    many.textContent = counts[place].toLocaleString("en");
    button.append(mark, document.createTextNode(text), many);
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => {
      only = only === place ? -1 : place;
      for (const [k, one] of [...$("legend").children].entries()) one.setAttribute("aria-pressed", String(k === only));
      if (at >= 0 && !visible(at)) show(-1);
      draw();
    });
    button.hidden = !counts[place];
    return button;
  }));
}

$("by").addEventListener("change", event => {
  mode = MODES[event.target.value];
  only = -1;
  legend();
  draw();
});
$("after").addEventListener("click", () => step(1));
$("before").addEventListener("click", () => step(-1));
canvas.addEventListener("pointermove", event => {
  if (event.pointerType === "touch") return;
  const k = under(event);
  if (k !== at) show(k);
});
canvas.addEventListener("pointerleave", event => { if (event.pointerType !== "touch" && document.activeElement !== canvas) show(-1); });
canvas.addEventListener("click", event => show(under(event)));
canvas.addEventListener("keydown", event => {
  const way = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
  if (way && !event.ctrlKey && !event.altKey && !event.metaKey) show(ahead(...way));
  else if (event.key === "Escape") show(-1);
  else return;
  event.preventDefault();
});
addEventListener("resize", () => show(at));
legend();
draw();
})();
