// What a report's page does beyond showing: values under the pointer, tables that sort, scatter
// plots of archs, and pictures of another epoch than the last. Nothing is loaded; without it, every
// table and curve is there.
"use strict";

const read = (figure) => JSON.parse(figure.querySelector("script").textContent);
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const digits = (value) => String(Number(value.toPrecision(6)));
const grouped = (value) => value.toLocaleString("en-US");

// One box for all plots. Text only: names come from a ledger.
const tip = document.createElement("div");
tip.className = "tip";
tip.hidden = true;
document.body.append(tip);

function showTip(x, y, lines) {
  tip.replaceChildren(...lines.map(({ text, colour }) => {
    const line = document.createElement("p");
    line.textContent = text;
    if (colour !== undefined) line.style.color = `var(--run-${colour})`;
    return line;
  }));
  tip.hidden = false;
  const left = x + 16 + tip.offsetWidth > innerWidth ? x - 16 - tip.offsetWidth : x + 16;
  const top = y + 16 + tip.offsetHeight > innerHeight ? y - 16 - tip.offsetHeight : y + 16;
  tip.style.left = `${Math.max(4, Math.min(left, innerWidth - tip.offsetWidth - 4))}px`;
  tip.style.top = `${Math.max(4, top)}px`;
}

function hideTip() {
  tip.hidden = true;
}

// Curves: a line at the nearest epoch, and every curve's value there.
function watchCurves(plot) {
  const data = read(plot);
  const all = data.series.flatMap((one) => one.points.map((point) => point[0]));
  const epochs = [...new Set(all)].sort((a, b) => a - b);
  const cursor = document.createElement("div");
  cursor.className = "cursor";
  cursor.hidden = true;
  plot.append(cursor);
  let at = epochs.length - 1;

  function show(place, x, y) {
    at = place;
    const share = (epochs[at] - data.epochs[0]) / (data.epochs[1] - data.epochs[0]);
    const box = plot.getBoundingClientRect();
    const left = box.width * (data.left + share * (data.right - data.left));
    cursor.style.left = `${left}px`;
    cursor.hidden = false;
    const lines = [{ text: `epoch ${epochs[at]}` }];
    for (const one of data.series) {
      const point = one.points.find((found) => found[0] === epochs[at]);
      if (!point) continue;
      const values = point.slice(1).map(digits).join(" to ");
      lines.push({ text: `${one.run} ${one.label}: ${values} ${data.unit}`.trim(), colour: one.colour });
    }
    showTip(x ?? box.left + left, y ?? box.top + 20, lines);
  }
  function hide() {
    cursor.hidden = true;
    hideTip();
  }

  const follow = (event) => {
    const box = plot.getBoundingClientRect();
    const share = ((event.clientX - box.left) / box.width - data.left) / (data.right - data.left);
    const wanted = data.epochs[0] + share * (data.epochs[1] - data.epochs[0]);
    let best = 0;
    epochs.forEach((epoch, place) => {
      if (Math.abs(epoch - wanted) < Math.abs(epochs[best] - wanted)) best = place;
    });
    show(best, event.clientX, event.clientY);
  };
  plot.addEventListener("pointermove", follow);
  plot.addEventListener("pointerdown", follow);
  plot.addEventListener("pointerleave", hide);
  plot.addEventListener("blur", hide);
  plot.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    show(Math.max(0, Math.min(epochs.length - 1, cursor.hidden ? at : at + step)));
  });
}

// Tables: by the column whose title is pressed; what is no number goes last.
function sortable(table) {
  const [head, ...rows] = table.rows;
  if (rows.length < 2) return;
  [...head.cells].forEach((cell, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...cell.childNodes);
    cell.append(button);
    button.addEventListener("click", () => {
      const down = cell.getAttribute("aria-sort") === "ascending";
      for (const other of head.cells) other.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = (row) => row.cells[column].textContent;
      const compare = cell.classList.contains("number")
        ? byNumber(down)
        : (a, b) => (down ? -1 : 1) * a.localeCompare(b, "en");
      const body = rows[0].parentNode;
      rows.sort((a, b) => compare(key(a), key(b))).forEach((row) => body.append(row));
    });
  });
}

function byNumber(down) {
  const value = (text) => parseFloat(text.replaceAll(",", ""));
  return (a, b) => {
    const [x, y] = [value(a), value(b)];
    if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
    return down ? y - x : x - y;
  };
}

// Archs: packed as little-endian numbers, because the whole space has 19,683 of them.
function unpack(text, kind) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new kind(bytes.buffer);
}

function readArchs(data) {
  const codes = unpack(data.codes, Uint16Array);
  const names = Array.from(codes, (code) => code.toString(3).padStart(9, "0"));
  const sum = ({ base, more }) => names.map((name) =>
    more.reduce((total, options, block) => total + options[Number(name[block])], base));
  return { names, epe: unpack(data.epe, Float64Array), macs: sum(data.macs), parameters: sum(data.parameters) };
}

function ticks(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= rough);
  const found = [];
  for (let at = Math.ceil(low / step); at * step <= high; at += 1) found.push(at * step);
  return found;
}

function span(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  const room = 0.05 * (high - low) || Math.abs(low) * 0.05 || 1;
  return [low - room, high + room];
}

// A scatter of EPE against a cost, with the front as steps: what is on it is cheaper or better.
function scatter(plot, archs, cost, front, title) {
  const canvas = plot.querySelector("canvas");
  const [xs, ys] = [archs[cost], archs.epe];
  const [[x0, x1], [y0, y1]] = [span(xs), span(ys)];
  const edge = { left: 52, right: 12, top: 10, bottom: 40 };
  let size = [0, 0];
  const across = (x) => edge.left + ((x - x0) / (x1 - x0)) * (size[0] - edge.left - edge.right);
  const down = (y) => size[1] - edge.bottom - ((y - y0) / (y1 - y0)) * (size[1] - edge.top - edge.bottom);

  function draw() {
    size = [canvas.clientWidth, canvas.clientHeight];
    canvas.width = size[0] * devicePixelRatio;
    canvas.height = size[1] * devicePixelRatio;
    const pen = canvas.getContext("2d");
    pen.scale(devicePixelRatio, devicePixelRatio);
    drawAxes(pen);
    pen.fillStyle = css("--run-0");
    const many = xs.length > 500;
    pen.globalAlpha = many ? 0.3 : 0.85;
    const radius = many ? 1.3 : 3;
    for (let i = 0; i < xs.length; i += 1) {
      pen.beginPath();
      pen.arc(across(xs[i]), down(ys[i]), radius, 0, 7);
      pen.fill();
    }
    pen.globalAlpha = 1;
    drawFront(pen);
  }

  function drawAxes(pen) {
    pen.font = "12px system-ui, sans-serif";
    pen.strokeStyle = css("--line");
    pen.fillStyle = css("--ink");
    pen.textAlign = "center";
    const short = new Intl.NumberFormat("en-US", { notation: "compact", maximumSignificantDigits: 4 });
    for (const x of ticks(x0, x1, Math.max(2, size[0] / 110))) {
      line(pen, across(x), edge.top, across(x), size[1] - edge.bottom);
      pen.fillText(short.format(x), across(x), size[1] - edge.bottom + 15);
    }
    pen.fillText(title, (edge.left + size[0] - edge.right) / 2, size[1] - 6);
    pen.textAlign = "right";
    for (const y of ticks(y0, y1, 5)) {
      line(pen, edge.left, down(y), size[0] - edge.right, down(y));
      pen.fillText(digits(y), edge.left - 6, down(y) + 4);
    }
    pen.save();
    pen.translate(12, size[1] / 2);
    pen.rotate(-Math.PI / 2);
    pen.textAlign = "center";
    pen.fillText("EPE (px)", 0, 0);
    pen.restore();
  }

  function drawFront(pen) {
    pen.strokeStyle = pen.fillStyle = css("--run-1");
    pen.lineWidth = 1.5;
    pen.beginPath();
    front.forEach((i, place) => {
      if (place) pen.lineTo(across(xs[i]), down(ys[front[place - 1]]));
      pen[place ? "lineTo" : "moveTo"](across(xs[i]), down(ys[i]));
    });
    pen.stroke();
    for (const i of front) pen.fillRect(across(xs[i]) - 3, down(ys[i]) - 3, 6, 6);
  }

  function nearest(event) {
    const box = canvas.getBoundingClientRect();
    let [best, least] = [-1, 24 ** 2]; // px
    for (let i = 0; i < xs.length; i += 1) {
      const far = (across(xs[i]) - event.clientX + box.left) ** 2 + (down(ys[i]) - event.clientY + box.top) ** 2;
      if (far < least) [best, least] = [i, far];
    }
    return best;
  }

  const follow = (event) => {
    const i = nearest(event);
    if (i < 0) return hideTip();
    const lines = [`arch ${archs.names[i]}${front.includes(i) ? ", on the front" : ""}`, `EPE ${digits(ys[i])} px`,
      `${grouped(archs.macs[i])} MACs`, `${grouped(archs.parameters[i])} parameters`];
    showTip(event.clientX, event.clientY, lines.map((text) => ({ text })));
  };
  canvas.addEventListener("pointermove", follow);
  canvas.addEventListener("pointerdown", follow);
  canvas.addEventListener("pointerleave", hideTip);
  new ResizeObserver(draw).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}

function line(pen, x0, y0, x1, y1) {
  pen.beginPath();
  pen.moveTo(x0, y0);
  pen.lineTo(x1, y1);
  pen.stroke();
}

// Pictures: what is of other epochs than the slider's is hidden.
function scrub(section) {
  const epochs = section.dataset.epochs.split(" ");
  const bar = section.querySelector(".scrub");
  if (!bar) return;
  const [slider, output] = [bar.querySelector("input"), bar.querySelector("output")];
  const parts = [...section.querySelectorAll("[data-at]")].map((part) => [part, part.dataset.at.split(" ")]);
  function show() {
    const epoch = epochs[slider.value];
    for (const [part, of] of parts) part.hidden = !of.includes(epoch);
    output.textContent = epoch;
    slider.setAttribute("aria-valuetext", `epoch ${epoch}`);
  }
  slider.addEventListener("input", show);
  bar.hidden = false;
  // A browser may have kept where it was before the page was loaded again.
  show();
}

document.querySelectorAll(".plot.curves").forEach(watchCurves);
document.querySelectorAll(".predicts").forEach(scrub);
document.querySelectorAll("table").forEach(sortable);
document.querySelectorAll(".archs").forEach((section) => {
  const data = read(section);
  const archs = readArchs(data);
  for (const plot of section.querySelectorAll(".plot.scatter")) {
    scatter(plot, archs, plot.dataset.cost, data.front[plot.dataset.cost], plot.dataset.title);
  }
});
