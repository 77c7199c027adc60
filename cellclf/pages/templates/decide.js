"use strict";
(() => {
const data = JSON.parse(document.getElementById("data").textContent);
const $ = id => document.getElementById(id);
const {label: LABEL, unsure: UNSURE, not_a_cell: NOT_A_CELL} = data.decisions;
const FIELDS = data.columns.slice(1); // decision, label, note, by, time; "" where there is nothing
const count = data.ids.length;
const place = new Map(data.ids.map((id, k) => [id, k]));
const many = (n, noun) => `${n} ${noun}${n === 1 ? "" : "s"}`;

let rows = data.ids.map(() => ({decision: "", label: "", note: "", by: "", time: ""}));
let at = 0;
let past = [];        // what undo brings back: lists of [place, row]
let unsaved = false;  // whether anything changed since the table was saved
let kept = null;      // whether the browser holds this state: read back, not believed

// ---- the state, and what keeps it

/** A time later than the row's last one, even if the clock was set back: of two answers the later counts. */
function stamp(row) {
  const last = Date.parse(row.time) || 0;
  return new Date(Math.max(Date.now(), last + 1000)).toISOString().slice(0, 19) + "Z";
}

function change(k, fields) {
  past.push([[k, rows[k]]]);
  if (past.length > 1000) past.shift();
  rows[k] = {...rows[k], ...fields, time: stamp(rows[k])};
  touched();
}

function touched() {
  unsaved = true;
  tell("");
  keep();
}

/** What the browser holds of this page: [[id, decision, label, note, by, time], ...]; null where there is nothing. */
function stored() {
  const held = JSON.parse(localStorage.getItem(data.key) || "null");
  return held && Array.isArray(held.rows) ? held : null;
}

/** Take rows of the browser's store that are newer than ours: another window may have written them. */
function takeStored(held) {
  for (const [id, ...values] of held.rows.filter(Array.isArray)) {
    const k = place.get(id);
    if (k === undefined || !values.every(value => typeof value === "string")) continue;
    const row = Object.fromEntries(FIELDS.map((name, i) => [name, values[i] || ""]));
    if (row.time > rows[k].time) rows[k] = row;
  }
}

function keep() {
  const before = kept;
  try {
    let held = null;
    try { held = stored(); } catch (error) { if (!(error instanceof SyntaxError)) throw error; }
    if (held) takeStored(held);
    const text = JSON.stringify({by: $("by").value, saved: !unsaved, rows: data.ids.map((id, k) => [id, ...FIELDS.map(name => rows[k][name])])
      .filter(row => row[5])});
    localStorage.setItem(data.key, text);
    kept = localStorage.getItem(data.key) === text;
  } catch (error) {
    kept = false; // no storage, none for files, or it is full: the page says so
  }
  if (kept !== before) showKept();
}

function showKept() {
  $("kept").textContent = kept === null ? "" : kept ? "kept in this browser"
    : "not kept in this browser: save the table before you close this page";
  $("kept").classList.toggle("lost", kept === false);
}

// ---- tables

const PLAIN = new RegExp(`^(?:${data.plain})$`, "i");
const cell = text => {
  const safe = PLAIN.test(text) ? text : "'" + text; // no formula, and nothing that a spreadsheet would rewrite
  return /[",;\t\r\n]|^\s|\s$/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
};

function table() {
  const lines = [data.columns, ...data.ids.map((id, k) => [id, ...FIELDS.map(name => rows[k][name])])];
  const text = lines.map(line => line.map(cell).join(",") + "\r\n").join("");
  return /^[\x00-\x7f]*$/.test(text) ? text : "\ufeff" + text; // by the mark Excel knows UTF-8; other programs stumble over it
}

function save() {
  if (!rows.some(row => row.time)) return tell("Nothing is answered yet, so there is nothing to save.");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([table()], {type: "text/csv;charset=utf-8"}));
  link.download = "labelled.csv";
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  unsaved = false;
  keep();
  show();
  tell("labelled.csv was handed to the browser's downloads.");
}

function parse(text) {
  const named = /^"?sep=(.)"?[^\r\n]*(\r\n|\r|\n)/i.exec(text);
  if (named) text = text.slice(named[0].length);
  const head = text.split(/[\r\n]/).find(line => line.trim()) || "";
  const most = line => [...",;\t"].reduce((best, mark) => line.split(mark).length > line.split(best).length ? mark : best);
  let lines = cells(text, named ? named[1] : most(head));
  if (lines.length && lines[0].length === 1) lines = lines.flatMap(line => cells(line[0], most(lines[0][0])));
  return lines;
}

function cells(text, mark) {
  const lines = [[""]];
  let quoted = false;
  for (let i = 0; i < text.length; i++) {
    const c = text[i], line = lines.at(-1);
    if (quoted) {
      if (c !== '"') line[line.length - 1] += c;
      else if (text[i + 1] === '"') line[line.length - 1] += text[++i];
      else quoted = false;
    } else if (c === '"' && line.at(-1) === "") quoted = true;
    else if (c === mark) line.push("");
    else if (c === "\n" || c === "\r") lines.push([""]);
    else line[line.length - 1] += c;
  }
  return lines.filter(line => line.some(one => one.trim()));
}

function decoded(bytes) {
  const [a, b] = new Uint8Array(bytes);
  if (a === 255 && b === 254) return new TextDecoder("utf-16le").decode(bytes);
  try { return new TextDecoder("utf-8", {fatal: true}).decode(bytes); }
  catch (error) { return new TextDecoder("windows-1252").decode(bytes); }
}

/** Read a saved table into the page: of two answers to a cell the later counts, and no answer replaces none. */
function add(text, name) {
  const lines = parse(text.replace(/^\ufeff/, ""));
  const bare = one => one.startsWith("'") ? one.slice(1) : one.trim();
  const head = (lines.shift() || []).map(one => bare(one).toLowerCase());
  const column = Object.fromEntries(data.columns.map(key => [key, head.indexOf(key)]));
  if (column.id < 0 || column.label < 0) return tell(`${name} is no table of this kind: it has no columns id and label.`);
  let read = 0, others = 0, fresh = 0, newer = 0, unclear = 0;
  const undo = [];
  for (const line of lines) {
    const row = Object.fromEntries(data.columns.map(key => [key, bare(line[column[key]] || "")]));
    const k = place.get(row.id);
    if (k === undefined) { others++; continue; }
    read++;
    const word = row.decision.toLowerCase().replace(/[\s-]+/g, "_");
    const decision = [UNSURE, NOT_A_CELL].includes(word) ? word : row.label ? LABEL : "";
    if (!decision) continue;
    const time = isNaN(Date.parse(row.time)) ? "" : new Date(row.time).toISOString().slice(0, 19) + "Z";
    const ours = rows[k];
    const label = decision === LABEL ? row.label : "";
    if (ours.decision && ours.decision === decision && ours.label === label) continue;
    if (ours.decision && !(time > ours.time)) { if (!time) unclear++; continue; }
    ours.decision ? newer++ : fresh++;
    undo.push([k, ours]);
    rows[k] = {decision, label, note: row.note || ours.note, by: row.by, time: time > ours.time ? time : stamp(ours)};
  }
  if (undo.length) { past.push(undo); touched(); }
  const parts = [`${many(fresh, "answer")} added from ${name}`];
  if (newer) parts.push(`${newer} replaced by a later one`);
  if (unclear) parts.push(`${unclear} differ and have no time: those of this page were kept`);
  if (others) parts.push(`${many(others, "row")} of other cells left out: keep that file`);
  const strange = new Set(rows.filter(row => row.label && !data.classes.includes(row.label)).map(row => row.label));
  if (strange.size) parts.push(`classes without a key here: ${[...strange].join(", ")}`);
  tell(`${read || !others ? parts.join("; ") : `None of the ${many(others, "row")} of ${name} is about a cell of this page`}.`);
  show();
}

// ---- what is seen

const words = row => row.decision === LABEL ? data.shown[data.classes.indexOf(row.label)] || row.label
  : {[UNSURE]: "unsure", [NOT_A_CELL]: "not a cell"}[row.decision] || "";
const named = k => data.show_ids ? data.ids[k] : `Cell ${k + 1}`;
const revealing = () => Boolean($("switch") && $("switch").checked);
/** Speak of a cell; seen only where the page has gone on to another one, since that cell's own answer stands there. */
const say = (text, k) => { $("said").textContent = text; $("said").classList.toggle("unseen", k === at); };
const tell = text => { $("told").textContent = text; }; // of the table

const dots = data.ids.map((id, k) => {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = k + 1;
  button.addEventListener("click", () => go(k));
  const item = document.createElement("li");
  item.append(button);
  $("cells").append(item);
  return button;
});

function show() {
  const row = rows[at], answered = rows.filter(one => one.decision).length;
  $("count").textContent = `${answered} of ${count} answered`;
  dots.forEach((dot, k) => {
    dot.dataset.state = rows[k].decision;
    dot.tabIndex = k === at ? 0 : -1;
    dot.setAttribute("aria-label", `${named(k)}: ${words(rows[k]) || "not answered"}`);
    k === at ? dot.setAttribute("aria-current", "true") : dot.removeAttribute("aria-current");
  });
  $("where").textContent = data.show_ids ? data.ids[at] : `Cell ${at + 1} of ${count}`;
  $("state").textContent = words(row) || "not answered";
  $("state").classList.toggle("open", !row.decision);
  if ($("image").getAttribute("src") !== data.images[at]) $("image").src = data.images[at];
  $("image").alt = named(at);
  const alike = data.neighbours[at] || [];
  $("alike").hidden = !alike.length;
  $("alike").lastElementChild.replaceChildren(...alike.map(address => {
    const image = document.createElement("img");
    image.src = address;
    image.alt = "";
    return image;
  }));
  for (const button of document.querySelectorAll("[data-class]"))
    button.setAttribute("aria-pressed", row.decision === LABEL && data.classes[button.dataset.class] === row.label);
  for (const button of document.querySelectorAll("[data-decision]"))
    button.setAttribute("aria-pressed", row.decision === button.dataset.decision);
  if ($("note").value !== row.note) $("note").value = row.note;
  $("back").disabled = at === 0;
  $("next").disabled = at === count - 1;
  $("undo").disabled = !past.length;
  showGuess(row);
  showEnd(answered);
  fit();
}

function showGuess(row) {
  const shown = [];
  if (revealing() && row.decision) {
    const guess = data.guesses[at], reason = data.reasons[at];
    if (guess) {
      const bold = document.createElement("b");
      bold.textContent = guess[0];
      shown.push("The classifier’s guess: ", bold, ` (${Math.round(100 * guess[1])}\u202f%)`);
    }
    if (reason) {
      const small = document.createElement("small");
      small.textContent = `Why this cell: ${reason}`;
      shown.push(small);
    }
  }
  $("guess").replaceChildren(...shown);
}

function showEnd(answered) {
  const done = answered === count;
  $("done").hidden = !done;
  $("save").classList.toggle("due", done && unsaved);
  $("unsaved").textContent = unsaved ? "There are answers that are not in a saved table yet." : "";
  if (!done) return;
  const of = decision => rows.filter(row => row.decision === decision).length;
  const parts = [`${of(LABEL)} labelled`];
  if (of(UNSURE)) parts.push(`${of(UNSURE)} unsure`);
  if (of(NOT_A_CELL)) parts.push(`${of(NOT_A_CELL)} not a cell`);
  $("result").textContent = `All ${many(count, "cell")} ${count === 1 ? "is" : "are"} answered: ${parts.join(", ")}. `
    + "You can still go back and change answers.";
}

/** Whole multiples of the pixels, so that each is a square; finer images are scaled to fit. */
function fit() {
  const [high, wide] = data.size, frame = $("frame"), ratio = window.devicePixelRatio || 1;
  const style = getComputedStyle(frame);
  const room = frame.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
  const narrow = window.matchMedia("(max-width: 52rem)").matches;
  let scale = Math.min(room / wide, Math.max(220, innerHeight * (narrow ? .35 : .6)) / high);
  const whole = scale * ratio >= 2;
  if (whole) scale = Math.floor(scale * ratio) / ratio;
  $("image").style.width = `${wide * scale}px`;
  $("image").style.height = `${high * scale}px`;
  $("image").classList.toggle("fine", !whole);
  const strip = $("cells"), dot = dots[at].parentElement; // scrolls the strip alone, never the page
  if (strip.scrollWidth > strip.clientWidth) strip.scrollLeft = dot.offsetLeft - strip.offsetLeft - strip.clientWidth / 2;
}

// ---- what people do

function go(k) {
  at = Math.min(count - 1, Math.max(0, k));
  say("");
  show();
  $("stage").focus({preventScroll: true});
  if ($("stage").getBoundingClientRect().top < 0) $("stage").scrollIntoView();
}

function answer(decision, label = "") {
  const row = rows[at], first = !row.decision, k = at;
  if (row.decision !== decision || row.label !== label) change(at, {decision, label, by: $("by").value.trim()});
  const open = data.ids.map((id, step) => (k + 1 + step) % count).find(next => !rows[next].decision);
  if (open === undefined) {
    show();
    if (first) { $("done").focus({preventScroll: true}); $("save").scrollIntoView({block: "nearest"}); }
  } else go(revealing() ? k : open);
  say(`${named(k)}: ${words(rows[k])}`, k);
}

function undo() {
  const last = past.pop();
  if (!last) return;
  for (const [k, row] of last) rows[k] = {...row, time: stamp(rows[k])};
  touched();
  go(last[0][0]);
  say(`undone: ${last.length === 1 ? named(at) : many(last.length, "answer")}`);
}

function write() {
  const k = at, note = $("note").value;
  if (note === rows[k].note) return;
  rows[k] = {...rows[k], note, time: stamp(rows[k])};
  touched();
  $("unsaved").textContent = "There are answers that are not in a saved table yet.";
}

function turn() {
  if (!$("switch")) return;
  $("switch").checked = !$("switch").checked;
  show();
}

const forward = () => go(at + 1), back = () => go(at - 1);
const acts = new Map([
  ["ArrowRight", forward], ["Enter", forward], ["ArrowLeft", back],
  ["Z", undo], ["Backspace", undo], ["S", save], ["G", turn],
  ["U", () => answer(UNSURE)], ["X", () => answer(NOT_A_CELL)],
  ["N", () => { $("note").focus(); }],
]);
data.keys.forEach((key, k) => acts.set(key, () => answer(LABEL, data.classes[k])));

/** The name of a key as it is printed: digits of both kinds alike, also where digits need Shift; letters of any layout. */
function pressed(event) {
  const code = event.code || "", pad = /^Numpad([0-9])$/.exec(code), digit = /^Digit([0-9])$/.exec(code);
  if (pad) return pad[1];
  if (/^[0-9]$/.test(event.key)) return event.key;
  let key = event.key;
  const letter = /^Key([A-Z])$/.exec(code);
  if (letter && key.length === 1 && !/[a-z]/i.test(key)) key = letter[1];
  if (/^[a-z]$/i.test(key)) return (event.shiftKey ? "Shift+" : "") + key.toUpperCase();
  return digit && !event.shiftKey ? digit[1] : key;
}

document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.repeat || event.isComposing) return;
  if (event.getModifierState && event.getModifierState("AltGraph")) return;
  const target = event.target instanceof Element ? event.target : document.body;
  if (target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]")) {
    if (event.key === "Escape" || event.key === "Enter") { event.preventDefault(); go(at); }
    return;
  }
  const key = pressed(event), act = acts.get(key);
  if (!act || (key === "Enter" && target.closest("button, a, summary"))) return;
  event.preventDefault();
  act();
});
document.addEventListener("click", event => {
  const button = event.target instanceof Element && event.target.closest("button");
  if (!button) return;
  if (button.dataset.class !== undefined) answer(LABEL, data.classes[button.dataset.class]);
  else if (button.dataset.decision) answer(button.dataset.decision);
});
$("back").addEventListener("click", back);
$("next").addEventListener("click", forward);
$("undo").addEventListener("click", undo);
$("save").addEventListener("click", save);
$("open").addEventListener("click", () => $("file").click());
$("note").addEventListener("input", write);
$("by").addEventListener("change", keep);
if ($("switch")) $("switch").addEventListener("change", show);
$("file").addEventListener("change", () => {
  const file = $("file").files[0];
  if (!file) return;
  file.arrayBuffer().then(bytes => add(decoded(bytes), file.name), () => tell(`${file.name} cannot be read.`));
  $("file").value = ""; // so that the same file can be opened again
});
window.addEventListener("storage", event => {
  if (event.key !== data.key) return;
  try { const held = stored(); if (held) { takeStored(held); show(); } } catch (error) { /* what is here stays */ }
});
window.addEventListener("beforeunload", event => { if (unsaved && !kept) event.preventDefault(); });
window.addEventListener("resize", fit);

try {
  const held = stored();
  if (held) {
    takeStored(held);
    $("by").value = typeof held.by === "string" ? held.by : "";
    if (rows.some(row => row.time)) { unsaved = held.saved !== true; keep(); }
  }
} catch (error) {
  kept = false;
  showKept();
}
at = Math.max(0, rows.findIndex(row => !row.decision));
show();
})();
