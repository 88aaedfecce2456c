"use strict";
// Zooming and pointing for a timeline. Zooming sets one viewBox; pointing looks up what the data says of that moment.

const data = JSON.parse(document.getElementById("data").textContent);
const picture = document.getElementById("picture");
const svg = picture.querySelector("svg");
const time = svg.querySelector(".time");
const grid = svg.querySelector(".gridlines");
const axis = svg.querySelector(".axis");
const readout = document.getElementById("readout");
const cursor = document.getElementById("cursor");
const height = time.viewBox.baseVal.height;
const STEPS = [0.001, 0.01, 0.1, 1, 5, 10, 30, 60, 300, 600, 1800, 3600, 10800, 21600, 43200]
  .concat([1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000].map(days => days * 86400));

let from = 0, to = data.until;  // What is seen, in seconds.
let at = 0, row = 0;            // What is pointed at.

const clamp = (value, least, most) => Math.max(least, Math.min(most, value));
const make = (name, attributes, text) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const key in attributes) node.setAttribute(key, attributes[key]);
  if (text) node.textContent = text;
  return node;
};
const padded = number => String(number).padStart(2, "0");

function moment(seconds, step) {
  const day = Math.floor(seconds / 86400), rest = seconds - day * 86400;
  if (step >= 86400) return `day ${day}`;
  let clock = `${padded(Math.floor(rest / 3600))}:${padded(Math.floor(rest % 3600 / 60))}`;
  if (step < 60) clock += ":" + (step < 1 ? (rest % 60).toFixed(3).padStart(6, "0") : padded(Math.floor(rest % 60)));
  return day ? `day ${day}, ${clock}` : clock;
}

function duration(seconds) {
  for (const [size, name] of [[86400, "days"], [3600, "h"], [60, "min"]])
    if (seconds >= 2 * size) return `${+(seconds / size).toFixed(1)} ${name}`;
  return `${+seconds.toPrecision(3)} s`;
}

function show() {
  const scale = data.width / data.until, wide = to - from;
  time.setAttribute("viewBox", `${from * scale} 0 ${wide * scale} ${height}`);
  const step = STEPS.find(step => wide / step <= 11) || STEPS.at(-1);
  grid.replaceChildren();
  axis.querySelectorAll("text").forEach(node => node.remove());
  for (let second = Math.ceil(from / step) * step; second <= to; second += step) {
    grid.append(make("path", { class: "grid", d: `M${second * scale} 0v${height}` }));
    const x = (second - from) / wide * data.width;
    if (x > data.width - 20) continue;
    const anchor = x < 20 ? "start" : "middle";
    axis.append(make("text", { class: "soft", x, y: 15, "text-anchor": anchor }, moment(second, step)));
  }
  point();
}

function zoom(factor, around) {
  const wide = clamp((to - from) * factor, Math.min(data.until, 1), data.until);
  from = clamp(around - (around - from) * wide / (to - from), 0, data.until - wide);
  to = from + wide;
  show();
}

function pan(by) {
  const wide = to - from;
  from = clamp(from + by, 0, data.until - wide);
  to = from + wide;
  show();
}

function bandAt(band, when) {
  let low = 0, high = band.ends.length - 1;
  while (low < high) {
    const middle = low + high >> 1;
    if (band.ends[middle] > when) high = middle; else low = middle + 1;
  }
  const what = band.ends.length ? band.what[low] : 0;
  if (typeof what === "number") return band.keys[what];
  const length = band.ends[low] - (low ? band.ends[low - 1] : 0);
  const shares = Object.entries(what).map(([key, share]) => `${band.keys[key] || "–"} ${share} %`);
  return `within ${duration(length)}: ${shares.join(", ")}`;
}

function marksAt(marks, at) {
  const near = 4 * (to - from) / data.width, found = [];
  for (const { meaning, all } of marks)
    for (const [start, end, notes] of all) {
      if (start > at + near) break;
      if (end < at - near) continue;
      const told = Object.entries(notes).map(([note, count]) => note + (count > 1 ? ` × ${count}` : "")).filter(Boolean);
      const when = end > start ? `${moment(start, 1)} to ${moment(end, 1)}` : moment(start, 1);
      found.push([start, `${when}: ${meaning}${told.length ? ` (${told.join(", ")})` : ""}`]);
    }
  return found.sort(([one], [other]) => one - other).map(([, text]) => text);
}

function line(text, style) {
  const node = document.createElement("p");
  node.textContent = text;
  if (style) node.className = style;
  return node;
}

function point() {
  at = clamp(at, from, to);
  const here = data.rows[row], wide = to - from;
  const bands = here.bands.map(band => [band.name, bandAt(band, at)]).filter(([, what]) => what);
  const marks = marksAt(here.marks, at);
  const more = marks.length > 4 ? [`and ${marks.length - 4} more`] : [];
  readout.replaceChildren(
    line(`${here.title} at ${moment(at, Math.min(1, wide / data.width))}`),
    line(bands.map(([name, what]) => `${name}: ${what}`).join(" · ") || "nothing to tell"),
    ...marks.slice(0, 4).concat(more).map(text => line(text, "soft")));
  const frame = picture.getBoundingClientRect(), box = time.getBoundingClientRect(), ratio = box.height / height;
  cursor.style.left = `${box.left - frame.left + (at - from) / wide * box.width}px`;
  cursor.style.top = `${box.top - frame.top + here.top * ratio}px`;
  cursor.style.height = `${here.height * ratio}px`;
  cursor.hidden = false;
}

// The plot's box is where it is drawn, whatever its viewBox: the frame that a nested svg has on the page.
time.getBoundingClientRect = () => {
  const whole = svg.getBoundingClientRect(), ratio = whole.width / svg.viewBox.baseVal.width;
  const { x, y, width } = { x: time.x.baseVal.value, y: time.y.baseVal.value, width: time.width.baseVal.value };
  return new DOMRect(whole.left + x * ratio, whole.top + y * ratio, width * ratio, height * ratio);
};

function aim(event) {
  const box = time.getBoundingClientRect();
  const y = (event.clientY - box.top) / box.height * height;
  const found = data.rows.findIndex(({ top, height }) => top <= y && y < top + height);
  if (found >= 0) row = found;
  return from + clamp((event.clientX - box.left) / box.width, 0, 1) * (to - from);
}

let held = null;
svg.addEventListener("pointerdown", event => {
  held = { x: event.clientX, moved: false };
});
window.addEventListener("pointermove", event => {
  if (held) {
    const by = event.clientX - held.x;
    if (!held.moved && Math.abs(by) < 4) return;
    picture.classList.add("dragging");
    held = { x: event.clientX, moved: true };
    pan(-by / time.getBoundingClientRect().width * (to - from));
  } else if (svg.contains(event.target)) {
    at = aim(event);
    point();
  }
});
window.addEventListener("pointerup", () => {
  held = null;
  picture.classList.remove("dragging");
});
svg.addEventListener("dblclick", event => zoom(event.shiftKey ? 2 : 0.5, aim(event)));
svg.addEventListener("wheel", event => {
  if (event.ctrlKey || event.metaKey) {
    event.preventDefault();
    zoom(Math.exp(clamp(event.deltaY, -60, 60) / 100), aim(event));
  } else if (event.deltaX || event.shiftKey) {
    event.preventDefault();
    pan((event.deltaX || event.deltaY) / data.width * (to - from));
  }
}, { passive: false });

const acts = {
  in: () => zoom(0.5, at), out: () => zoom(2, at), all: () => zoom(Infinity, at),
  left: () => pan((from - to) / 4), right: () => pan((to - from) / 4),
};
for (const button of document.querySelectorAll("[data-act]"))
  button.addEventListener("click", acts[button.dataset.act]);

picture.addEventListener("keydown", event => {
  const step = (to - from) / 200 * (event.shiftKey ? 10 : 1);
  const keys = {
    "+": acts.in, "=": acts.in, "-": acts.out, "0": acts.all,
    ArrowLeft: () => move(-step), ArrowRight: () => move(step),
    ArrowUp: () => choose(-1), ArrowDown: () => choose(1),
    Home: () => move(-data.until), End: () => move(data.until),
  };
  const act = event.ctrlKey || event.altKey || event.metaKey ? undefined : keys[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

function move(by) {
  at = clamp(at + by, 0, data.until);
  if (at < from || at > to) pan(at < from ? at - from : at - to); else point();
}

function choose(by) {
  row = clamp(row + by, 0, data.rows.length - 1);
  point();
}

window.addEventListener("resize", point);
for (const node of document.querySelectorAll("[hidden]")) node.hidden = false;
row = Math.max(0, data.rows.findIndex(({ title }) => title.startsWith("client")));
show();
