// Theme, charts, and copying of samples. All texts come from the data block and are set as text, never as markup.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("report-data").textContent);
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  // Okabe and Ito; the order keeps neighbours far apart, and yellow and black come last.
  const LIGHT = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#6B6B6B", "#B3A800"];
  const DARK = ["#56B4E9", "#F08A3C", "#2BC29A", "#E3A0C6", "#F2BB4A", "#A6D8F5", "#B5B5B5", "#F0E442"];
  const DASHES = ["solid", "dot", "dashdot", "longdash"];

  const report = (window.report = { data, listeners: [] });
  report.isDark = () => root.dataset.theme === "dark";
  report.colours = () => (report.isDark() ? DARK : LIGHT);
  report.style = (name) => getComputedStyle(root).getPropertyValue(name).trim();

  // ------------------------------------------------------------ theme

  let chosen = null; // the reader's choice; null: as the system is
  function applyTheme(theme) {
    root.dataset.theme = theme;
    button.textContent = theme === "dark" ? "Light" : "Dark";
    button.setAttribute("aria-label", `Switch to ${theme === "dark" ? "light" : "dark"} colours`);
    for (const listener of report.listeners) listener();
  }
  const button = document.getElementById("theme");
  button.hidden = false;
  button.addEventListener("click", () => applyTheme((chosen = report.isDark() ? "light" : "dark")));
  dark.addEventListener("change", () => chosen || applyTheme(dark.matches ? "dark" : "light"));

  // ------------------------------------------------------------ charts

  // Plotly reads a little markup and formulas in labels: it must not find any in ours.
  const ENTITIES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", $: "&#36;" };
  const plain = (text) => String(text).replace(/[&<>$]/g, (sign) => ENTITIES[sign]);
  const short = (text, most) => (text.length > most ? text.slice(0, most - 1) + "\u2026" : text);
  // Names as categories. Where names with the same beginning would be the same, their middle is left out, or nothing.
  function labels(names, most) {
    const half = Math.floor(most / 2);
    const ways = [(name) => short(name, most), (name) => `${name.slice(0, half)}\u2026${name.slice(1 - half)}`, (name) => name];
    const made = ways.map((way) => names.map(String).map(way));
    const once = (of, i) => of.indexOf(of[i]) === of.lastIndexOf(of[i]);
    return names.map((_, i) => plain(made.find((of) => once(of, i))?.[i] ?? names[i]));
  }
  const plots = [...document.querySelectorAll(".plot")];
  const drawn = new Set();

  // An axis title in lines of at most so many characters: Plotly cuts off what is longer than the axis.
  function wrapped(text, most) {
    const lines = [""];
    for (const word of text.split(" ")) {
      const last = lines[lines.length - 1];
      if (last && last.length + word.length >= most) lines.push(word); else lines[lines.length - 1] = last ? `${last} ${word}` : word;
    }
    return lines.map(plain).join("<br>");
  }

  // Plotly would label a logarithmic axis of less than two decades once, and put halves between small counts.
  function ticks(values, log) {
    const found = values.filter((value) => typeof value === "number" && (!log || value > 0));
    if (!found.length) return {}; // names
    const most = Math.max(...found), least = Math.min(...found);
    if (!log) return most < 6 && found.every(Number.isInteger) ? { dtick: 1 } : {};
    if (most > 100 * least) return { dtick: 1, exponentformat: "power" };
    const powers = Array.from({ length: 25 }, (_, i) => i - 12);
    const at = powers.flatMap((power) => [1, 2, 5].map((digit) => Number(`${digit}e${power}`)));
    const near = at.filter((value) => value > least / 3 && value < most * 3);
    return { tickvals: near, ticktext: near.map((value) => value.toLocaleString("en", { maximumSignificantDigits: 3 })) };
  }

  function axis(title, most, values, log, extra) {
    const line = report.style("--line");
    return {
      title: { text: wrapped(title, most), standoff: 8, font: { size: 13 } }, type: log ? "log" : undefined, gridcolor: line,
      zerolinecolor: line, linecolor: line, automargin: true, separatethousands: true, exponentformat: "none", ...ticks(values, log), ...extra,
    };
  }

  // Series of a group have its colour, and differ by dashes or hatching.
  function traces(figure) {
    const colours = report.colours();
    const categories = [...new Set(figure.series.flatMap((series) => series.x))].filter((value) => typeof value === "string");
    const shortened = labels(categories, 34), labelOf = new Map(categories.map((name, i) => [name, shortened[i]]));
    return figure.series.map((series, i) => {
      const of = figure.series.filter((other) => series.group !== null && other.group === series.group);
      // The two ends of a range have one entry in the legend; a diagonal or a range is grey.
      const range = of.length > 1 && of.every((other) => other.dashed);
      const place = series.group === null ? i : of.indexOf(series);
      const grey = series.dashed && (series.group === null || of.every((other) => other.dashed));
      const common = { name: plain(range ? series.name.split(",")[0] : series.name), showlegend: !range || place === 0 };
      const colour = grey ? report.style("--soft") : colours[(series.group ?? i) % colours.length];
      if (series.kind === "bars") {
        const names = series.x.map((value) => (typeof value === "string" ? labelOf.get(value) : value));
        const across = figure.horizontal;
        return {
          ...common, type: "bar", orientation: across ? "h" : "v", x: across ? series.y : names, y: across ? names : series.y,
          marker: { color: colour, pattern: figure.series.length > 1 && place % 2 ? { shape: "/", size: 6, solidity: 0.35 } : {} },
          hovertext: (series.labels.length ? series.labels : series.x).map(plain),
          hovertemplate: `%{hovertext}: %{${across ? "x" : "y"}:,}<extra>${plain(series.name)}</extra>`,
        };
      }
      if (series.kind === "points") {
        return {
          ...common, type: "scatter", mode: "markers", x: series.x, y: series.y, text: series.labels.map(plain),
          marker: { color: colour, size: 5, opacity: 0.45 },
        };
      }
      return {
        ...common, type: "scatter", mode: "lines", x: series.x, y: series.y,
        line: { color: colour, width: series.dashed ? 1.5 : 2.2, dash: series.dashed ? "dash" : DASHES[place % DASHES.length] },
      };
    });
  }

  function heat(figure, width) {
    const narrow = width < 420;
    const digits = narrow ? { notation: "compact", maximumSignificantDigits: 2 } : { maximumFractionDigits: 2 };
    const shown = (value) => (value === null ? "" : figure.percent ? `${Math.round(100 * value)}%` : value.toLocaleString("en", digits));
    const span = figure.span ?? (figure.percent ? [0, 1] : null);
    return [{
      type: "heatmap", x: figure.x.map(plain), y: labels(figure.y, narrow ? 20 : 30), z: figure.values,
      colorscale: "Cividis", hoverongaps: false, xgap: 2, ygap: 2, ...(span ? { zmin: span[0], zmax: span[1] } : {}),
      text: figure.values.map((row) => row.map(shown)), texttemplate: "%{text}", textfont: { size: narrow ? 10 : 12 }, showscale: !narrow,
      customdata: figure.y.map((name) => figure.x.map(() => plain(name))), hovertemplate: "%{customdata}, %{x}: %{text}<extra></extra>",
      colorbar: { title: { text: plain(figure.unit), side: "right", font: { size: 13 } }, thickness: 12, tickformat: figure.percent ? ".0%" : undefined, outlinewidth: 0 },
    }];
  }

  function layout(figure, width) {
    const rows = figure.values ? figure.y.length : figure.horizontal ? figure.series[0].x.length : 0;
    const bars = figure.series && figure.series.some((series) => series.kind === "bars");
    const category = (own) => (own && typeof figure.series[0].x[0] === "string" ? { type: "category" } : {});
    const first = figure.values ? { x: { type: "category" }, y: { type: "category", autorange: "reversed" } } : figure.horizontal
      ? { x: { rangemode: "tozero" }, y: { autorange: "reversed", ...category(true) } }
      : { x: category(bars), y: figure.log_y ? {} : { rangemode: "tozero" } };
    const names = figure.values ? figure.y : figure.horizontal ? figure.series[0].x : [];
    const taken = names.length ? 60 + 7 * Math.min(34, Math.max(...names.map((name) => name.length))) : 80;
    const xs = figure.values ? [] : figure.series.flatMap((series) => series.x), ys = figure.values ? [] : figure.series.flatMap((series) => series.y);
    const across = Math.max(14, (width - taken) / 7.5);
    return {
      height: figure.horizontal ? Math.max(170, 110 + 32 * rows) : Math.max(300, 110 + 30 * rows),
      margin: { l: 55, r: 12, t: 12, b: 48 }, bargap: 0.15,
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: report.style("--font"), size: 13, color: report.style("--text") },
      xaxis: axis(figure.horizontal ? figure.y_title : figure.x_title, across, figure.horizontal ? ys : xs, figure.log_x, first.x),
      yaxis: axis(figure.horizontal ? figure.x_title : figure.y_title, 26, figure.horizontal ? xs : ys, figure.log_y, first.y),
      barmode: figure.stacked ? "stack" : "group",
      showlegend: Boolean(figure.series && figure.series.length > 1),
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { size: 12 } },
      hoverlabel: { font: { family: report.style("--font") } },
    };
  }

  function draw(place) {
    const figure = data.figures[place.dataset.figure];
    drawn.add(place);
    if (!window.Plotly) return;
    Plotly.react(place, figure.values ? heat(figure, place.clientWidth) : traces(figure), layout(figure, place.clientWidth), {
      responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
    });
  }

  function rows(figure) {
    if (figure.values) {
      const cells = figure.y.flatMap((y, i) => figure.x.map((x, j) => [y, x, figure.values[i][j]]));
      return [[figure.y_title, figure.x_title, figure.unit], ...cells.filter((cell) => cell[2] !== null)];
    }
    const points = (series) => series.x.map((x, i) => [series.name, series.labels[i] ?? x, series.y[i]]);
    return [["series", figure.x_title, figure.y_title], ...figure.series.flatMap(points)];
  }

  function table(figure) {
    const made = document.createElement("table");
    rows(figure).forEach((row, i) => {
      const line = made.insertRow();
      for (const value of row) {
        const cell = document.createElement(i ? "td" : "th");
        cell.textContent = typeof value === "number" ? value.toLocaleString("en", { maximumSignificantDigits: 6 }) : value ?? "";
        if (i && typeof value === "number") cell.className = "n";
        line.append(cell);
      }
    });
    return made;
  }

  for (const details of document.querySelectorAll("figure.chart details")) {
    const fill = () => {
      const into = details.querySelector("div");
      if (details.open && !into.firstChild) into.append(table(data.figures[details.dataset.figure]));
    };
    details.addEventListener("toggle", fill);
    if (!window.Plotly) {
      details.open = true;
      details.parentElement.querySelector(".plot").hidden = true;
    }
  }
  const near = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) {
        near.unobserve(entry.target);
        draw(entry.target);
      }
    }
  }, { rootMargin: "600px" });
  plots.forEach((place) => near.observe(place));
  report.listeners.push(() => drawn.forEach(draw));

  // ------------------------------------------------------------ paper

  let before = null;
  addEventListener("beforeprint", () => {
    before = root.dataset.theme;
    applyTheme("light");
    plots.forEach(draw);
    document.querySelectorAll("details.sample").forEach((sample) => (sample.open = true));
  });
  addEventListener("afterprint", () => before && applyTheme(before));

  // ------------------------------------------------------------ samples

  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Without the permission: the old way, by a selection.
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
  }
  for (const place of document.querySelectorAll("[data-copy]")) {
    place.hidden = false;
    place.addEventListener("click", async () => {
      const text = JSON.stringify(data.samples[place.dataset.copy], null, 2);
      await copy(text);
      report.copied = text;
      place.textContent = "Copied";
      setTimeout(() => (place.textContent = "Copy as JSON"), 1500);
    });
  }

  applyTheme(dark.matches ? "dark" : "light");
})();
