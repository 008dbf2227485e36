// The map of the KP graph on a canvas. Positions are computed beforehand; this script draws, moves, searches and selects.
//
// Edges are drawn once per standstill into a layer; while the map moves, the layer is moved with it, and only the KPs
// are drawn anew. Hence a frame costs the same for 100 and for 20,000 edges.
"use strict";
(() => {
  const { data, colours, isDark, style, listeners } = window.report;
  const graph = data.graph;
  const canvas = document.getElementById("map");
  if (!graph || !canvas) return;
  const context = canvas.getContext("2d");
  const layer = document.createElement("canvas");
  const n = graph.names.length;
  const { x, y, edges } = graph;
  const width = Math.max(...x, 1), height = Math.max(...y, 1);
  const MARGIN = 0.5; // of the layer around the visible part, so that moving shows edges at once
  const SETTLE = 140; // ms without a movement until edges are drawn again
  const LABELS = 36, NEIGHBOURS = 14, FOUND = 9;
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;

  const adjacent = Array.from({ length: n }, () => []);
  for (let e = 0; e < edges.length; e += 2) {
    adjacent[edges[e]].push([edges[e + 1], graph.counts[e / 2]]);
    adjacent[edges[e + 1]].push([edges[e], graph.counts[e / 2]]);
  }
  adjacent.forEach((list) => list.sort((a, b) => b[1] - a[1]));

  let zoom = 1, left = 0, top = 0; // screen = (map - corner) * zoom, in CSS pixels
  let drawnAt = null; // zoom and corner of the layer
  let selected = -1, hovered = -1, path = [];
  let colourBy = "discipline", sizeBy = "visits";
  let radius = new Float32Array(n), order = [];
  let timer = 0, wanted = false, ratio = 1, wide = 0, high = 0;

  // ------------------------------------------------------------ size and colour

  function measure() {
    const values = graph[sizeBy];
    const most = Math.max(...values, 1);
    const scale = Math.max(0.5, Math.min(1, Math.sqrt(800 / n))); // a large graph gets smaller dots
    for (let i = 0; i < n; i++) radius[i] = scale * (2 + 9 * Math.sqrt(values[i] / most));
    order = [...radius.keys()].sort((a, b) => values[b] - values[a] || a - b);
  }

  const groups = () => (colourBy === "discipline" ? graph.disciplines : communities);
  const communities = [];
  for (const number of [...new Set(graph.community)].sort((a, b) => a - b)) {
    const members = [...x.keys()].filter((i) => graph.community[i] === number);
    const first = members.reduce((a, b) => (graph.seeds[b] > graph.seeds[a] ? b : a));
    communities[number] = number === 8 ? "smaller communities" : `around ${graph.names[first]}`;
  }
  const colourOf = (group) => {
    const other = group >= 8 || groups()[group] === "others" || groups()[group] === "unknown";
    return other ? style("--wait") : colours()[group];
  };

  function legend() {
    const list = document.getElementById("map-legend");
    list.replaceChildren();
    groups().forEach((name, group) => {
      const item = document.createElement("li"), dot = document.createElement("i"), text = document.createElement("span");
      dot.style.background = colourOf(group);
      text.className = "data";
      text.textContent = name;
      item.append(dot, text);
      list.append(item);
    });
  }

  // ------------------------------------------------------------ drawing

  function resize() {
    ratio = Math.min(devicePixelRatio || 1, 2);
    const old = wide;
    wide = canvas.clientWidth;
    high = canvas.clientHeight;
    canvas.width = Math.round(wide * ratio);
    canvas.height = Math.round(high * ratio);
    layer.width = Math.round(wide * ratio * (1 + 2 * MARGIN));
    layer.height = Math.round(high * ratio * (1 + 2 * MARGIN));
    drawnAt = null;
    if (!old) fit(); else request();
  }

  const screenX = (i) => (x[i] - left) * zoom;
  const screenY = (i) => (y[i] - top) * zoom;
  const grown = () => Math.max(0.55, Math.min(2.6, Math.sqrt(zoom / fitted())));
  const fitted = () => Math.min((wide - 40) / width, (high - 40) / height);

  function drawLayer() {
    const pen = layer.getContext("2d");
    const shiftX = wide * MARGIN, shiftY = high * MARGIN;
    pen.setTransform(ratio, 0, 0, ratio, shiftX * ratio, shiftY * ratio);
    pen.clearRect(-shiftX, -shiftY, wide * (1 + 2 * MARGIN), high * (1 + 2 * MARGIN));
    pen.strokeStyle = isDark() ? "rgb(150 170 200 / 30%)" : "rgb(70 85 110 / 22%)";
    pen.lineWidth = Math.max(0.5, Math.min(1.2, 0.6 * grown()));
    pen.beginPath();
    for (let e = 0; e < edges.length; e += 2) {
      const a = edges[e], b = edges[e + 1];
      const ax = screenX(a), ay = screenY(a), bx = screenX(b), by = screenY(b);
      const out = Math.max(ax, bx) < -shiftX || Math.min(ax, bx) > wide + shiftX ||
        Math.max(ay, by) < -shiftY || Math.min(ay, by) > high + shiftY;
      if (!out) {
        pen.moveTo(ax, ay);
        pen.lineTo(bx, by);
      }
    }
    pen.stroke();
    drawnAt = { zoom, left, top };
  }

  function drawKPs(chosen) {
    const scale = grown(), group = graph[colourBy];
    const batches = new Map();
    for (const i of order) {
      const sx = screenX(i), sy = screenY(i);
      if (sx < -20 || sy < -20 || sx > wide + 20 || sy > high + 20) continue;
      if (chosen && !chosen.has(i)) continue;
      const key = group[i];
      if (!batches.has(key)) batches.set(key, new Path2D());
      const r = radius[i] * scale, batch = batches.get(key);
      if (r < 2.4) batch.rect(sx - r, sy - r, 2 * r, 2 * r);
      else {
        batch.moveTo(sx + r, sy);
        batch.arc(sx, sy, r, 0, 6.2832);
      }
    }
    for (const [key, batch] of batches) {
      context.fillStyle = colourOf(key);
      context.fill(batch);
    }
  }

  function lines(pairs, colour, thick) {
    context.strokeStyle = colour;
    context.lineWidth = thick;
    context.beginPath();
    for (const [a, b] of pairs) {
      context.moveTo(screenX(a), screenY(a));
      context.lineTo(screenX(b), screenY(b));
    }
    context.stroke();
  }

  // Writes a name at the right of its KP, or above or below it where another name is in the way; false: it has no place.
  function label(i, taken, strong, step) {
    const name = graph.names[i], shown = name.length > 34 ? name.slice(0, 33) + "\u2026" : name;
    const text = step ? `${step}. ${shown}` : shown;
    context.font = `${strong ? "600 14px" : "12.5px"} ${style("--font")}`;
    const w = context.measureText(text).width, r = radius[i] * grown(), x0 = screenX(i), y0 = screenY(i);
    const inside = (left) => Math.min(Math.max(left, 4), Math.max(4, wide - w - 4));
    const right = [inside(x0 + r + 7), y0 + 4], above = [inside(x0 - w / 2), y0 - r - 9], below = [above[0], y0 + r + 20];
    const places = !strong ? [right] : right[0] === x0 + r + 7 ? [right, above, below] : [above, below, right];
    const box = ([left, base]) => [left - 2, base - 13, left + w + 2, base + 5];
    const free = (place) => {
      const own = box(place);
      return !taken.some((t) => own[0] < t[2] && t[0] < own[2] && own[1] < t[3] && t[1] < own[3]);
    };
    const place = places.find(free) ?? (strong ? places[0] : null);
    if (!place) return false;
    taken.push(box(place));
    context.lineWidth = 3.5;
    context.lineJoin = "round";
    context.strokeStyle = style("--card");
    context.strokeText(text, ...place);
    context.fillStyle = style("--text");
    context.fillText(text, ...place);
    return true;
  }

  function ring(i, colour) {
    context.strokeStyle = colour;
    context.lineWidth = 3;
    context.beginPath();
    context.arc(screenX(i), screenY(i), radius[i] * grown() + 4, 0, 6.2832);
    context.stroke();
  }

  function draw(moving) {
    wanted = false;
    if (!moving || !drawnAt) drawLayer();
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, wide, high);
    const focus = path.length ? new Set(path) : selected >= 0 ? new Set([selected, ...adjacent[selected].map((a) => a[0])]) : null;
    context.globalAlpha = focus ? 0.35 : 1;
    const k = zoom / drawnAt.zoom;
    context.drawImage(
      layer,
      (drawnAt.left - left) * zoom - wide * MARGIN * k, (drawnAt.top - top) * zoom - high * MARGIN * k,
      wide * (1 + 2 * MARGIN) * k, high * (1 + 2 * MARGIN) * k,
    );
    if (focus) context.globalAlpha = 0.2;
    drawKPs(null);
    context.globalAlpha = 1;
    const accent = colours()[1];
    if (path.length) lines(path.slice(1).map((b, i) => [path[i], b]), accent, 4);
    else if (selected >= 0) lines(adjacent[selected].map(([b]) => [selected, b]), style("--accent"), 1.6);
    if (focus) drawKPs(focus);
    const taken = [];
    if (path.length) path.forEach((i) => ring(i, accent));
    if (selected >= 0) ring(selected, style("--text"));
    if (hovered >= 0) label(hovered, taken, true);
    if (selected >= 0 && selected !== hovered) label(selected, taken, true);
    path.forEach((i, at) => i !== hovered && label(i, taken, true, at + 1));
    const candidates = path.length ? [] : selected >= 0 ? adjacent[selected].slice(0, NEIGHBOURS).map((a) => a[0]) : order;
    let shown = 0;
    const most = Math.min(LABELS, Math.round((wide * high) / 14000));
    for (const i of candidates) {
      if (shown >= most) break;
      const sx = screenX(i), sy = screenY(i);
      if (sx > 0 && sy > 8 && sx < wide - 30 && sy < high && label(i, taken, false)) shown++;
    }
  }

  function request(moving) {
    clearTimeout(timer);
    if (moving) timer = setTimeout(() => requestAnimationFrame(() => draw(false)), SETTLE);
    if (wanted) return;
    wanted = true;
    requestAnimationFrame(() => draw(Boolean(moving)));
  }

  // ------------------------------------------------------------ moving

  function fit() {
    zoom = fitted();
    left = width / 2 - wide / 2 / zoom;
    top = height / 2 - high / 2 / zoom;
    request();
  }

  function zoomAt(factor, sx, sy) {
    const next = Math.min(Math.max(zoom * factor, fitted() / 3), fitted() * 60);
    left += sx / zoom - sx / next;
    top += sy / zoom - sy / next;
    zoom = next;
    request(true);
  }

  function moveBy(dx, dy) {
    left -= dx / zoom;
    top -= dy / zoom;
    request(true);
  }

  function goTo(points, least) {
    const xs = points.map((i) => x[i]), ys = points.map((i) => y[i]);
    const spanX = Math.max(...xs) - Math.min(...xs) || 1, spanY = Math.max(...ys) - Math.min(...ys) || 1;
    const next = Math.min((0.6 * wide) / spanX, (0.6 * high) / spanY, Math.max(zoom, fitted() * least));
    const to = [next, (Math.max(...xs) + Math.min(...xs)) / 2, (Math.max(...ys) + Math.min(...ys)) / 2];
    const from = [zoom, left + wide / 2 / zoom, top + high / 2 / zoom];
    const begun = performance.now(), length = calm ? 1 : 350;
    (function step(now) {
      const part = Math.min(1, Math.max(0, (now - begun) / length)), ease = part * (2 - part);
      zoom = from[0] * (to[0] / from[0]) ** ease;
      left = from[1] + (to[1] - from[1]) * ease - wide / 2 / zoom;
      top = from[2] + (to[2] - from[2]) * ease - high / 2 / zoom;
      draw(part < 1);
      if (part < 1) requestAnimationFrame(step);
    })(begun);
  }

  function nearest(sx, sy, reach) {
    let best = -1, least = Infinity;
    for (let i = 0; i < n; i++) {
      const distance = Math.hypot(screenX(i) - sx, screenY(i) - sy) - radius[i] * grown();
      if (distance < least) [best, least] = [i, distance];
    }
    return least <= reach ? best : -1;
  }

  const fingers = new Map();
  let moved = 0;
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, place(event));
    moved = 0;
  });
  canvas.addEventListener("pointermove", (event) => {
    const now = place(event), before = fingers.get(event.pointerId);
    if (!before) {
      const over = nearest(...now, 6);
      canvas.style.cursor = over >= 0 ? "pointer" : "";
      if (over !== hovered) {
        hovered = over;
        request(true);
      }
      return;
    }
    const others = [...fingers].filter(([id]) => id !== event.pointerId);
    if (others.length) {
      const other = others[0][1];
      const span = (p) => Math.hypot(p[0] - other[0], p[1] - other[1]) || 1;
      zoomAt(span(now) / span(before), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
      moved = 99;
    } else {
      moveBy(now[0] - before[0], now[1] - before[1]);
      moved += Math.abs(now[0] - before[0]) + Math.abs(now[1] - before[1]);
      canvas.classList.add("moving");
    }
    fingers.set(event.pointerId, now);
  });
  const release = (event) => {
    if (fingers.delete(event.pointerId) && moved < 6 && event.type === "pointerup") {
      const found = nearest(...place(event), 10);
      if (found >= 0) select(found); else clear();
    }
    canvas.classList.remove("moving");
  };
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener("pointerleave", () => {
    if (hovered >= 0) {
      hovered = -1;
      request();
    }
  });
  canvas.addEventListener("wheel", (event) => {
    // The page must stay scrollable: the wheel zooms only a map that has the focus, or with Ctrl.
    if (document.activeElement !== canvas && !event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const step = event.deltaMode === 1 ? 24 * event.deltaY : event.deltaY;
    zoomAt(Math.exp(-Math.max(-300, Math.min(300, step)) / 480), ...place(event));
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const step = 60;
    const actions = {
      ArrowLeft: () => moveBy(step, 0), ArrowRight: () => moveBy(-step, 0), ArrowUp: () => moveBy(0, step),
      ArrowDown: () => moveBy(0, -step), "+": () => zoomAt(1.3, wide / 2, high / 2), "=": () => zoomAt(1.3, wide / 2, high / 2),
      "-": () => zoomAt(1 / 1.3, wide / 2, high / 2), 0: fit, Escape: clear,
      Enter: () => select(nearest(wide / 2, high / 2, Infinity)),
    };
    if (actions[event.key] && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      actions[event.key]();
    }
  });
  document.getElementById("zoom-in").addEventListener("click", () => zoomAt(1.5, wide / 2, high / 2));
  document.getElementById("zoom-out").addEventListener("click", () => zoomAt(1 / 1.5, wide / 2, high / 2));
  document.getElementById("zoom-fit").addEventListener("click", fit);

  // ------------------------------------------------------------ the panel

  const panel = document.getElementById("map-panel");
  const hint = [...panel.childNodes];
  function element(name, text, kind) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  }

  function link(i, after) {
    const made = element("button", graph.names[i] + (after ? ` (${after})` : ""), "chip data");
    made.type = "button";
    made.addEventListener("click", () => select(i, true));
    const item = element("li");
    item.append(made);
    return item;
  }

  function select(i, travel) {
    selected = i;
    path = [];
    const facts = element("dl", undefined, "facts");
    const fact = (name, value) => facts.append(element("dt", name), element("dd", value, "data"));
    fact("Discipline", graph.disciplines[graph.discipline[i]]);
    fact("Seeds", graph.seeds[i].toLocaleString("en"));
    fact("Visits", graph.visits[i].toLocaleString("en"));
    fact("Neighbours", graph.degree[i].toLocaleString("en"));
    const list = element("ul", undefined, "chip-list");
    adjacent[i].slice(0, NEIGHBOURS).forEach(([other, count]) => list.append(link(other, count)));
    panel.replaceChildren(element("h3", graph.names[i], "data"), facts);
    if (adjacent[i].length) {
      const less = adjacent[i].length > NEIGHBOURS ? `${NEIGHBOURS} strongest` : "neighbours";
      panel.append(element("h3", `Linked with (${less}; seeds that hold both)`), list);
    }
    const questions = graph.qa[i];
    panel.append(element("h3", questions.length ? "Some of the QA along it" : "No QA along it"));
    const qa = element("ul");
    questions.forEach((number) => qa.append(element("li", graph.questions[number], "data")));
    if (questions.length) panel.append(qa);
    if (travel) goTo([i], 4); else request();
  }

  function clear() {
    selected = -1;
    path = [];
    panel.replaceChildren(...hint);
    request();
  }

  function showPath(sample) {
    const kps = data.paths[sample];
    selected = -1;
    path = kps;
    const list = element("ol");
    kps.forEach((i) => list.append(link(i)));
    panel.replaceChildren(
      element("h3", `Path of sample ${sample + 1}`), list,
      element("p", data.samples[sample].question, "data"), element("p", "Escape, or a click beside the path, clears it.", "note"),
    );
    document.getElementById("graph").scrollIntoView();
    canvas.focus({ preventScroll: true });
    goTo(kps, 8);
  }
  for (const button of document.querySelectorAll("[data-path]")) {
    button.hidden = false;
    button.addEventListener("click", () => showPath(Number(button.dataset.path)));
  }

  // ------------------------------------------------------------ search

  const input = document.getElementById("map-search"), found = document.getElementById("map-found");
  const keys = graph.names.map((name) => name.toLocaleLowerCase());
  let hits = [], active = -1;
  function mark(next) {
    active = next;
    [...found.children].forEach((item, i) => item.setAttribute("aria-selected", String(i === active)));
    input.setAttribute("aria-activedescendant", active >= 0 ? `found-${active}` : "");
    if (active >= 0) found.children[active].scrollIntoView({ block: "nearest" });
  }
  function list() {
    const text = input.value.trim().toLocaleLowerCase();
    hits = [];
    if (text) {
      const all = order.filter((i) => keys[i].includes(text));
      hits = [...all.filter((i) => keys[i].startsWith(text)), ...all.filter((i) => !keys[i].startsWith(text))].slice(0, FOUND);
    }
    found.replaceChildren(...hits.map((i, at) => {
      const item = element("li", graph.names[i], "data");
      item.id = `found-${at}`;
      item.setAttribute("role", "option");
      item.addEventListener("pointerdown", (event) => {
        event.preventDefault();
        take(at);
      });
      return item;
    }));
    if (text && !hits.length) found.append(element("li", "No drawn KP has this in its name"));
    found.hidden = !text;
    input.setAttribute("aria-expanded", String(Boolean(text)));
    mark(hits.length ? 0 : -1);
  }
  function take(at) {
    if (hits[at] === undefined) return;
    input.value = graph.names[hits[at]];
    found.hidden = true;
    input.setAttribute("aria-expanded", "false");
    select(hits[at], true);
  }
  input.addEventListener("input", list);
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown") mark(Math.min(active + 1, hits.length - 1));
    else if (event.key === "ArrowUp") mark(Math.max(active - 1, 0));
    else if (event.key === "Enter") take(active);
    else if (event.key === "Escape") found.hidden = true;
    else return;
    event.preventDefault();
  });
  input.addEventListener("blur", () => (found.hidden = true));

  // ------------------------------------------------------------ switches

  document.getElementById("map-size").addEventListener("change", (event) => {
    sizeBy = event.target.value;
    measure();
    request();
  });
  document.getElementById("map-colour").addEventListener("change", (event) => {
    colourBy = event.target.value;
    legend();
    request();
  });
  listeners.push(() => {
    legend();
    if (wide) draw(false); // at once: paper does not wait for a frame
  });
  if (!graph.visits.some((count) => count > 0)) sizeBy = document.getElementById("map-size").value = "seeds";
  measure();
  legend();
  new ResizeObserver(resize).observe(canvas);

  // For the tests and the measurement of frames: what is shown where, and how long a frame of a movement takes.
  window.report.map = {
    at: (name) => {
      const i = graph.names.indexOf(name);
      return [screenX(i), screenY(i)];
    },
    state: () => ({ selected: selected < 0 ? null : graph.names[selected], path: path.map((i) => graph.names[i]), zoom, left, top }),
    frames: async (count) => {
      const cost = [], interval = [];
      let last = await new Promise(requestAnimationFrame);
      for (let i = 0; i < count; i++) {
        const begun = performance.now();
        if (i % 40 < 20) zoomAt(i % 40 < 10 ? 1.06 : 1 / 1.06, wide / 2, high / 2); else moveBy(i % 2 ? 14 : -14, 8);
        cancelled();
        draw(true);
        context.getImageData(0, 0, 1, 1); // waits until it is drawn
        cost.push(performance.now() - begun);
        const now = await new Promise(requestAnimationFrame);
        interval.push(now - last);
        last = now;
      }
      const begun = performance.now();
      drawLayer();
      layer.getContext("2d").getImageData(0, 0, 1, 1);
      return { cost, interval, settled: performance.now() - begun };
    },
  };
  function cancelled() {
    clearTimeout(timer);
    wanted = false;
  }
})();
