"use strict";
// Reads live.json and tasks.json and draws them. Names and messages are text nodes, never markup.

const EVERY = 1500; // milliseconds between two looks
const main = document.getElementById("main");
let lastAt = 0, drawn = "", timer = null, spoken = "", turn = 0;

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) if (value !== undefined) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

// -- how values are spelled -------------------------------------------------------------------------------------------

function seconds(value) {
  if (value === null || value === undefined) return "–";
  const spelled = (number, unit) => `${number}\u00a0${unit}`; // never on two lines
  if (value === 0) return spelled(0, "s");
  if (value < 0.001) return spelled((value * 1e6).toFixed(0), "µs");
  if (value < 1) return spelled((value * 1000).toPrecision(value < 0.01 ? 2 : 3).replace(/\.0+$/, ""), "ms");
  if (value < 120) return spelled(value < 10 ? value.toFixed(1) : value.toFixed(0), "s");
  return value < 7200 ? spelled((value / 60).toFixed(0), "min") : spelled((value / 3600).toFixed(1), "h");
}

function count(value) {
  return value === null || value === undefined ? "–" : Number.isInteger(value) ? value.toLocaleString("en") : value.toFixed(1);
}

function rate(value) {
  if (value === null || value === undefined) return "–";
  return `${value === 0 ? "0" : value < 10 ? value.toPrecision(2) : Math.round(value).toLocaleString("en")}/s`;
}

function unitOf(unit) { return unit === "s" ? seconds : count; }

// -- parts ------------------------------------------------------------------------------------------------------------

function words(warnings) {
  if (!warnings.length) return null;
  const list = element("ul", { class: "words" });
  for (const said of warnings) {
    const link = element("a", { class: said.level, href: said.runbook_url, target: "_blank", rel: "noopener noreferrer" }, said.text);
    link.title = `What to do: the runbook “${said.runbook}”`;
    list.append(element("li", {}, link));
  }
  return list;
}

function addressOf(shown) {
  return `#/executor/${[shown.process, shown.type, shown.name].map(encodeURIComponent).join("/")}`;
}

function cell(label, value, under, more) {
  return element("td", { "data-label": label, class: `right ${more || ""}` },
    element("span", {}, value, under ? element("span", { class: "under" }, under) : null));
}

function quantiles(found) { return !found.count ? "none" : `${seconds(found.p50)} · ${seconds(found.p95)} · ${seconds(found.p99)}`; }

function slotsCell(shown) {
  const slots = shown.slots, label = "slots in use";
  if (!slots) return element("td", { "data-label": label }, element("span", {}, `${count(shown.active)} active`));
  const text = slots.limit === null ? `${count(slots.used)}, no limit` : `${count(slots.used)} of ${count(slots.limit)}`;
  return element("td", { "data-label": label }, element("span", { class: "number" }, text, bar(slots.used, slots.limit, "slots", `slots: ${text}`)));
}

function queueCell(shown) {
  const queue = shown.queue, label = "queue";
  if (!queue) return element("td", { "data-label": label, class: "dim" }, element("span", {}, "none"));
  const text = queue.capacity === null ? count(queue.size) : `${count(queue.size)} of ${count(queue.capacity)}`;
  return element("td", { "data-label": label },
    element("span", { class: "number" }, text, queue.capacity === null ? null : bar(queue.size, queue.capacity, "queue", `queue: ${text}`),
      element("span", { class: "under" }, queue.size ? `oldest waits ${seconds(queue.oldest_age)}` : "")));
}

function endsCell(shown) {
  const recent = shown.recent.counts, parts = [];
  for (const [name, one, more] of [["errors", "error", "errors"], ["timeouts", "timeout", "timeouts"],
    ["cancellations", "cancelled", "cancelled"], ["rejected", "rejected", "rejected"]]) {
    if (recent[name]) parts.push(`${count(recent[name])} ${recent[name] === 1 ? one : more}`);
  }
  if (shown.producers && shown.producers.blocked) parts.push(`${count(shown.producers.blocked)} blocked`);
  if (shown.abandoned) parts.push(`${count(shown.abandoned)} abandoned`);
  return element("td", { "data-label": "problems" }, element("span", { class: parts.length ? "" : "dim" }, parts.join(", ") || "none"));
}

function sparkCell(shown) {
  const now = (kept, value) => [...kept, value || 0], { spark: kept } = shown;
  const age = now(kept.age, 0), slots = now(kept.slots, shown.slots && shown.slots.used), queue = now(kept.queue, shown.queue && shown.queue.size);
  const most = (values) => Math.max(0, ...values);
  const text = `the last ${seconds(Math.max(...age))}: at most ${count(most(slots))} slots in use, ${count(most(queue))} queued`;
  return element("td", { "data-label": "slots, queue were" }, spark(age, [
    { values: slots, most: shown.slots && shown.slots.limit, kind: "slots" },
    { values: queue, most: shown.queue && shown.queue.capacity, kind: "queue" }], text));
}

function processOf(shown, all) { return all.processes.length > 1 || shown.process ? `process ${shown.process} · ` : ""; }

// The row of something, and below it what is wrong with it.
function withWords(shown, wrong, columns, ...cells) {
  const first = element("tr", { class: wrong ? "wrong" : "" }, ...cells), said = words(shown.warnings);
  if (!said) return [first];
  first.classList.add("has-said");
  return [first, element("tr", { class: wrong ? "said wrong" : "said" }, element("td", { colspan: columns }, said))];
}

function row(shown, all) {
  const rates = shown.recent.per_second, wrong = shown.warnings.some((said) => said.level === "warning");
  return withWords(shown, wrong, 9,
    element("th", { scope: "row" }, element("a", { href: addressOf(shown) }, shown.name),
      element("span", { class: "under" }, processOf(shown, all) + shown.type)),
    slotsCell(shown), queueCell(shown), sparkCell(shown),
    cell("wait p50 · p95 · p99", quantiles(shown.recent.wait)), cell("run p50 · p95 · p99", quantiles(shown.recent.run)),
    cell("started", rate(rates && rates.started), `${count(shown.totals.started)} in all`),
    cell("finished", rate(rates && rates.finished), `${count(shown.totals.finished)} in all`), endsCell(shown));
}

function table(label, heads, rows) {
  const head = element("tr", {}, ...heads.map(([text, right]) => element("th", { scope: "col", class: right ? "right" : undefined }, text)));
  return element("div", { class: "wide", role: "region", "aria-label": label, tabindex: "0" },
    element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows)));
}

// -- views ------------------------------------------------------------------------------------------------------------

function overview(found) {
  const made = [element("h2", {}, "Executors")];
  if (!found.executors.length) {
    made.push(element("p", { class: "dim" }, "No executor has been opened yet. Each one appears here when it is."));
  } else {
    made.push(table("Executors", [["executor"], ["slots in use"], ["queue"], ["slots, queue were"], ["wait p50 · p95 · p99", 1],
      ["run p50 · p95 · p99", 1], ["started", 1], ["finished", 1], ["problems, ≤ 1 min"]],
    found.executors.flatMap((shown) => row(shown, found))));
  }
  const blocked = found.loops.some((shown) => shown.warnings.some((said) => said.level === "warning"));
  return blocked ? [...eventLoops(found), ...made] : [...made, ...eventLoops(found)];
}

function eventLoops(found) {
  const made = [element("h2", {}, "Event loops")];
  if (!found.loops.length) return [...made, element("p", { class: "dim" }, "No event loop is watched, or none has been late yet.")];
  const rows = found.loops.flatMap((shown) => withWords(shown, shown.warnings.some((said) => said.level === "warning"), 3,
    element("th", { scope: "row" }, shown.name, element("span", { class: "under" }, processOf(shown, found))),
    cell("now", shown.stall > 0.1 ? `blocked for ${seconds(shown.stall)}` : "on time"), cell("delay p50 · p95 · p99", quantiles(shown.delay))));
  return [...made, table("Event loops", [["loop"], ["now", 1], ["delay p50 · p95 · p99, ≤ 1 min", 1]], rows)];
}

function facts(pairs) {
  return element("dl", { class: "facts" }, ...pairs.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
}

// The difference to the sample before, per second.
function perSecond(ages, values) {
  return values.map((value, i) => i && ages[i - 1] > ages[i] ? Math.max(0, value - values[i - 1]) / (ages[i - 1] - ages[i]) : null);
}

function lineName(series) { return Object.values(series.attributes).filter((value) => value !== "").join(" · ") || "all"; }

function added(lines) {
  const byName = new Map();
  for (const line of lines) {
    const known = byName.get(line.name);
    if (known) known.values = known.values.map((value, i) => value === null ? line.values[i] : value + (line.values[i] || 0));
    else byName.set(line.name, line);
  }
  return [...byName.values()];
}

function charts(found, shown) {
  const { age, series } = found.history;
  const of = (name) => series.filter((each) => each.metric === `glasspool.${name}`);
  const first = (name) => (of(name)[0] || { values: age.map(() => 0) }).values;
  const rates = (name, attribute) => added(of(name).map((each) =>
    ({ name: attribute ? each.attributes[attribute] || "none" : "all", values: perSecond(age, each.values) })));
  const made = [], used = new Set();
  const add = (title, lines, show, whole, ...names) => {
    names.forEach((name) => used.add(`glasspool.${name}`));
    if (lines.length) made.push(chart({ title, ages: age, lines, show, whole }));
  };
  if (shown.slots) {
    const lines = [{ name: "in use", values: first("slot.usage") }];
    if (shown.slots.limit !== null) lines.push({ name: "limit", values: first("slot.limit") });
    add("Slots (number)", lines, count, true, "slot.usage", "slot.limit");
  }
  if (shown.queue) {
    const lines = [{ name: "queued", values: first("queue.size") }];
    if (shown.queue.capacity !== null) lines.push({ name: "capacity", values: first("queue.capacity") });
    add("Queue (tasks)", lines, count, true, "queue.size", "queue.capacity");
    add("Oldest wait (seconds)", [{ name: "oldest", values: first("queue.oldest.age") }], seconds, false, "queue.oldest.age");
    add("Waits, of the last 10 s each (seconds)", ["p50", "p95", "p99"].map((name) => ({ name, values: found.history.wait[name] })), seconds);
  }
  add("Runs, of the last 10 s each (seconds)", ["p50", "p95", "p99"].map((name) => ({ name, values: found.history.run[name] })), seconds);
  if (shown.queue) {
    add("Waits against runs, p95 (seconds)", [{ name: "wait", values: found.history.wait.p95 }, { name: "run", values: found.history.run.p95 }], seconds);
  }
  add("Submitted (tasks per second)", rates("task.submitted"), rate, false, "task.submitted");
  add("Ended, by outcome (tasks per second)", rates("task.completed", "glasspool.task.outcome"), rate, false, "task.completed");
  add("Errors, by type (tasks per second)", added(of("task.completed").filter((each) => each.attributes["glasspool.task.outcome"] === "error")
    .map((each) => ({ name: each.attributes["error.type"] || "unknown", values: perSecond(age, each.values) }))), rate);
  add("Cancellations, by reason (per second)", rates("task.cancellations", "glasspool.cancel.reason"), rate, false, "task.cancellations");
  // Whatever else there is, by the metric's own words: holds, limits, retries, services, and what comes later.
  const quiet = /^glasspool\.(slot\.(limit\.|saturated\.)?time|executor\.|telemetry\.|task\.oldest|worker\.limit)/;
  for (const metric of new Set(series.map((each) => each.metric))) {
    if (used.has(metric) || quiet.test(metric)) continue;
    const mine = series.filter((each) => each.metric === metric), { kind, unit } = mine[0];
    const spelled = unit === "s" ? "seconds" : unit.replace(/[{}]/g, "");
    const lines = mine.map((each) => ({ name: lineName(each), values: kind === "counter" ? perSecond(age, each.values) : each.values }));
    add(`${metric.replace("glasspool.", "")} (${spelled}${kind === "counter" ? " per second" : ""})`, lines, kind === "counter" ? rate : unitOf(unit));
  }
  return element("div", { class: "charts" }, ...made);
}

function one(found, asked) {
  const shown = found.executors.find((each) => each.name === asked.name && each.type === asked.type && String(each.process) === asked.process);
  if (!shown) {
    return [element("h2", {}, asked.name), element("p", {}, "There is no such executor now. ", element("a", { href: "#/" }, "Back to all executors"))];
  }
  const { slots, queue, recent, producers } = shown, rates = recent.per_second || {};
  return [
    element("div", { class: "title" }, element("h2", {}, shown.name), element("span", { class: "dim" }, processOf(shown, found) + shown.type),
      element("a", { href: addressOf(shown).replace("#/executor/", "#/tasks/") }, "Its tasks and where they are")),
    words(shown.warnings),
    facts([
      ["slots in use", slots ? `${count(slots.used)}${slots.limit === null ? "" : ` of ${count(slots.limit)}`}` : `${count(shown.active)} active`],
      ["queue", queue ? `${count(queue.size)}${queue.capacity === null ? "" : ` of ${count(queue.capacity)}`}` : "none"],
      ["oldest wait", queue ? seconds(queue.oldest_age) : "–"], ["longest-running task", seconds(shown.oldest_task_age)],
      ["producers blocked", producers ? count(producers.blocked) : "–"], ["abandoned threads", count(shown.abandoned)],
      ["started", rate(rates.started)], ["finished", rate(rates.finished)],
      ["wait p50 · p95 · p99", quantiles(recent.wait)], ["run p50 · p95 · p99", quantiles(recent.run)],
      ["succeeded in all", count(shown.totals.succeeded)], ["errors in all", count(shown.totals.errors)],
      ["timeouts in all", count(shown.totals.timeouts)], ["cancelled in all", count(shown.totals.cancellations)],
      ["rejected in all", count(shown.totals.rejected)],
    ]),
    found.history && found.history.age.length > 1 ? charts(found, shown)
      : element("p", { class: "dim" }, "Charts begin with the second sample, two seconds after the first look.")];
}

const opened = new Set(); // the stacks that the reader has opened

function stackOf(task) {
  if (!task.stack || !task.stack.length) {
    const why = task.state === "queued" ? "waits in the queue" : task.state === "active" ? "not known to glasspool" : "its thread has ended";
    return element("span", { class: "dim" }, why);
  }
  const innermost = [...task.stack].reverse();
  const library = /^.*[\\/](site-packages|lib[\\/]python[\d.]+)[\\/]/; // where what others wrote is installed
  const own = innermost.find((frame) => !library.test(frame.file)) || innermost[0];
  const name = (frame) => frame.file.split(/[\\/]/).pop();
  const key = `${task.process}/${task.executor}/${task.id}/${task.state}`;
  const list = element("ol", { class: "stack" }, ...innermost.map((frame) => element("li", {}, frame.function, " ",
    element("span", { class: "file", title: frame.file }, `${frame.file.replace(library, "")}:${frame.line}`))));
  const made = element("details", {}, element("summary", {}, `${own.function} ${name(own)}:${own.line}`), list);
  if (task.awaiting) made.append(element("span", { class: "dim" }, `awaits ${task.awaiting}`));
  made.dataset.key = key;
  made.open = opened.has(key);
  return made;
}

function tasks(found, asked) {
  const what = asked.name === undefined ? "The oldest tasks" : `The oldest tasks of ${asked.name}`;
  const made = [element("div", { class: "title" }, element("h2", {}, what),
    element("span", { class: "dim" }, "at most 50 that run and 50 that wait, and what event loops execute; the stacks show where each is now, innermost call first"))];
  if (asked.name !== undefined) made[0].append(element("a", { href: "#/tasks" }, "Tasks of all executors"));
  for (const number of found.unknown_processes) made.push(element("p", { class: "dim" }, `Process ${number} has not said which tasks it has.`));
  if (!found.tasks.length) return [...made, element("p", { class: "dim" }, "No task runs or waits now.")];
  const rows = found.tasks.map((task) => element("tr", {},
    element("th", { scope: "row" }, task.name, element("span", { class: "under" }, task.id === null ? "" : `number ${task.id}`)),
    element("td", { "data-label": "executor" }, element("span", {}, element("a", { href: addressOf({ ...task, name: task.executor }) }, task.executor),
      element("span", { class: "under" }, task.process ? `process ${task.process} · ${task.type}` : task.type))),
    element("td", { "data-label": "state", class: `state-${task.state}` }, element("span", {}, task.state)),
    cell("age", seconds(task.age), task.state === "active" && task.waited !== null ? `waited ${seconds(task.waited)}` : ""),
    element("td", { "data-label": "runs in" }, element("span", {}, task.thread ? `thread ${task.thread.name || task.thread.id}` : task.runner)),
    element("td", { "data-label": "trace" }, task.trace_id ? element("code", {}, task.trace_id) : element("span", { class: "dim" }, "none")),
    element("td", { "data-label": "where it is now", class: "where" }, stackOf(task))));
  made.push(table("Tasks", [["task"], ["executor"], ["state"], ["age", 1], ["runs in"], ["trace"], ["where it is now"]], rows));
  return made;
}

// -- the address says what is shown -----------------------------------------------------------------------------------

function asked() {
  const parts = location.hash.replace(/^#\//, "").split("/").map((part) => { try { return decodeURIComponent(part); } catch { return part; } });
  const [view, process, type] = parts, name = parts.slice(3).join("/");
  if (view === "executor" && type) return { view, process, type, name };
  if (view === "tasks") return type ? { view, process, type, name } : { view };
  return { view: "overview" };
}

function request(wanted) {
  const query = wanted.name === undefined ? "" : `?${new URLSearchParams({ process: wanted.process, type: wanted.type, name: wanted.name })}`;
  return wanted.view === "tasks" ? `tasks.json${query}` : `live.json${query}`;
}

// Puts the new parts in place; where the keyboard was, it stays.
function show(parts, wanted) {
  const active = document.activeElement, inside = main.contains(active);
  const all = () => [...main.querySelectorAll("a, summary, [tabindex]")];
  const index = inside ? all().indexOf(active) : -1, mark = inside && active.href, scrolled = [...main.querySelectorAll(".wide")].map((each) => each.scrollLeft);
  main.replaceChildren(...parts.filter((part) => part !== null));
  if (drawn === location.hash) {
    [...main.querySelectorAll(".wide")].forEach((each, i) => { if (scrolled[i]) each.scrollLeft = scrolled[i]; }); // else no layout is asked for
    if (index >= 0) ((mark && all().find((each) => each.href === mark)) || all()[index] || main).focus({ preventScroll: true });
  } else if (drawn && inside) main.focus({ preventScroll: true });
  drawn = location.hash;
  for (const [id, view] of [["to-overview", "overview"], ["to-tasks", "tasks"]]) {
    const link = document.getElementById(id);
    if (view === wanted.view) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  }
}

// For those who listen to the page: only what is new.
function say(text) {
  document.getElementById("said").textContent = text;
}

function tell(found) {
  if (!found.executors) return;
  const now = [...found.executors, ...found.loops].flatMap((shown) => shown.warnings.filter((said) => said.level === "warning")
    .map((said) => `${shown.name}: ${said.runbook.replaceAll("-", " ")}`)).join("; ");
  if (now !== spoken) say(spoken = now);
}

function draw(found, wanted) {
  const selected = getSelection();
  if (drawn === location.hash && !selected.isCollapsed && main.contains(selected.anchorNode)) return; // it is being copied
  // Asked here and not told by an event, which may come when the element has been replaced.
  for (const each of main.querySelectorAll("details")) if (each.open) opened.add(each.dataset.key); else opened.delete(each.dataset.key);
  const parts = wanted.view === "tasks" ? tasks(found, wanted) : wanted.view === "executor" ? one(found, wanted) : overview(found);
  show(parts, wanted);
  tell(found);
}

function state(text, away) {
  const line = document.getElementById("state");
  if (away !== line.classList.contains("away")) say(away ? text : "The program answers again.");
  line.classList.toggle("away", away);
  if (line.textContent !== text) line.textContent = text;
}

async function look() {
  clearTimeout(timer);
  const mine = ++turn, wanted = asked();
  try {
    const answer = await fetch(request(wanted), { cache: "no-store", signal: AbortSignal.timeout(10000) });
    if (!answer.ok) throw new Error((await answer.text()).trim() || `status ${answer.status}`);
    const found = await answer.json();
    if (mine !== turn) return;
    lastAt = Date.now();
    const quiet = (found.processes || []).filter((each) => !each.answered).length;
    state(`${quiet ? `${quiet} of ${found.processes.length} processes did not answer · ` : ""}${new Date(found.at * 1000).toLocaleTimeString()}`, quiet > 0);
    draw(found, wanted);
  } catch (error) {
    if (mine !== turn) return;
    const since = lastAt ? ` since ${new Date(lastAt).toLocaleTimeString()}; what is shown is of then` : "";
    const why = error instanceof TypeError || error.name === "TimeoutError" ? `The program does not answer${since}.` : `The program answers: ${error.message}`;
    state(`${why} Trying again.`, true);
  }
  timer = setTimeout(look, document.hidden ? 4 * EVERY : EVERY);
}

document.getElementById("skip").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
addEventListener("hashchange", look);
document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
look();
