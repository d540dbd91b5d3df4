"use strict";
// Bars, sparklines and charts as SVG. Every text is a text node.

const SVG = "http://www.w3.org/2000/svg";

function svg(name, attributes, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function described(made, text) {
  made.setAttribute("role", "img");
  made.setAttribute("aria-label", text);
  return made;
}

// A bar of `value` in `limit`; without a limit nothing is filled.
function bar(value, limit, kind, text) {
  const width = 90, share = limit ? Math.min(1, value / limit) : 0;
  const filled = svg("rect", { class: share >= 1 ? "full" : kind, width: width * share, height: 6, rx: 2 });
  return described(svg("svg", { width, height: 6 }, svg("rect", { class: "back", width, height: 6, rx: 2 }), filled), text);
}

// The path of a line; gaps where there is no value.
function path(xs, ys, x, y) {
  let drawn = "", pen = false;
  xs.forEach((at, i) => {
    const value = ys[i];
    if (value === null || value === undefined) { pen = false; return; }
    drawn += `${pen ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
    pen = true;
  });
  return drawn;
}

// Up to two minutes, the newest at the right: the lines one below the other, each filled, and by its own maximum.
function spark(ages, lines, text) {
  const width = 120, each = 16, span = Math.min(120, Math.max(30, ...ages));
  const x = (age) => width - Math.min(span, age) / span * width;
  const made = svg("svg", { width, height: lines.length * each });
  lines.forEach(({ values, most, kind }, i) => {
    const top = Math.max(most || 0, ...values, 1), floor = (i + 1) * each - 1;
    made.append(svg("rect", { class: "back", y: i * each + 1, width, height: each - 2 }));
    if (!ages.length) return;
    const drawn = path(ages, values, x, (value) => floor - value / top * (each - 2));
    made.append(svg("path", { class: `area ${kind}`, d: `M${x(ages[0]).toFixed(1)} ${floor}${drawn.replace("M", "L")}L${width} ${floor}Z` }));
  });
  return described(made, text);
}

// A round number at or above the maximum, so that the axis is labelled with round numbers.
function ceiling(most) {
  if (!(most > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 2.5, 5, 10].map((step) => step * power).find((step) => step >= most * 0.999);
}

// Lines over time with axes: `ages` in seconds ago, `show` spells a value with its unit.
function chart({ title, ages, lines, show, whole }) {
  const width = 460, height = 170, left = 58, bottom = 20, top = 8;
  const span = Math.max(60, Math.ceil(Math.max(0, ...ages) / 60) * 60);
  const shown = lines.filter((line) => line.values.some((value) => value));
  let most = ceiling(Math.max(0, ...lines.flatMap((line) => line.values.filter((value) => value !== null))));
  if (whole && most < 2) most = 2;
  const x = (age) => width - 6 - age / span * (width - left - 6);
  const y = (value) => height - bottom - value / most * (height - bottom - top);
  const made = svg("svg", { viewBox: `0 0 ${width} ${height}` });
  for (const part of [0, 0.5, 1]) {
    const at = y(most * part);
    made.append(svg("line", { class: "axis", x1: left, x2: width - 6, y1: at, y2: at }));
    made.append(svg("text", { x: left - 6, y: at + 4, "text-anchor": "end" }, show(most * part)));
  }
  for (const part of [1, 0.5, 0]) {
    const age = span * part, text = part ? `−${age % 60 ? `${age} s` : `${age / 60} min`}` : "now";
    made.append(svg("text", { x: x(age), y: height - 5, "text-anchor": part === 1 ? "start" : part ? "middle" : "end" }, text));
  }
  lines.forEach((line, i) => {
    line.color = `c${i % 8}`;
    if (shown.includes(line)) made.append(svg("path", { class: line.color, d: path(ages, line.values, x, y) }));
  });
  const last = (line) => [...line.values].reverse().find((value) => value !== null && value !== undefined);
  const said = lines.map((line) => `${line.name} ${last(line) === undefined ? "none" : show(last(line))}`).join(", ");
  described(made, `${title}, the last ${span / 60} min; now: ${said}`);
  const key = document.createElement("ul");
  key.className = "key";
  for (const line of lines) {
    const item = document.createElement("li");
    const sample = svg("svg", { viewBox: "0 0 22 8", "aria-hidden": "true" }, svg("path", { class: line.color, d: "M0 4L22 4" }));
    item.append(sample, `${line.name} ${last(line) === undefined ? "–" : show(last(line))}`);
    key.append(item);
  }
  const figure = document.createElement("figure"), caption = document.createElement("figcaption"), heading = document.createElement("h3");
  heading.textContent = title;
  caption.append(heading, key);
  figure.append(caption, made);
  return figure;
}
