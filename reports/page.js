// Tables are sorted by their headers and filtered by words; a link to a claim opens where its number is from.
// Without this script the page reads as it is.
"use strict";

const LEAST = { sort: 3, filter: 10 }; // rows from which it is of use
const NUMBER = /^[-+]?\d+(\.\d+)?([eE][-+]?\d+)?/;

function compare(one, other) {
  const [a, b] = [one, other].map((text) => text.match(NUMBER));
  return a && b ? a[0] - b[0] : one.localeCompare(other, "en", { numeric: true });
}

function sortable(table) {
  const body = table.tBodies[0];
  const original = [...body.rows];
  const headers = [...table.tHead.rows[0].cells];
  const text = (row, column) => row.cells[column].textContent.trim();
  const filled = (row, column) => !["", "–"].includes(text(row, column));
  headers.forEach((header, column) => {
    if (!header.textContent.trim()) header.setAttribute("aria-label", "row");
    header.setAttribute("aria-sort", "none");
    const button = document.createElement("button");
    button.type = "button";
    button.title = "sort";
    button.append(...header.childNodes);
    if (!button.textContent.trim()) button.textContent = "\u21C5";
    header.append(button);
    button.addEventListener("click", () => {
      const next = { none: "ascending", ascending: "descending", descending: "none" }[header.getAttribute("aria-sort")];
      headers.forEach((other) => other.setAttribute("aria-sort", "none"));
      header.setAttribute("aria-sort", next);
      const sign = next === "descending" ? -1 : 1;
      const some = original.filter((row) => filled(row, column)); // what is empty stays at the end
      const none = original.filter((row) => !filled(row, column));
      some.sort((a, b) => sign * compare(text(a, column), text(b, column)));
      body.append(...(next === "none" ? original : [...some, ...none]));
    });
  });
}

function filterable(table) {
  const rows = [...table.tBodies[0].rows];
  const line = document.createElement("p");
  const input = document.createElement("input");
  const count = document.createElement("span");
  line.className = "find";
  input.type = "search";
  input.placeholder = "filter by words";
  input.setAttribute("aria-label", `filter ${table.caption ? table.caption.textContent.split(".")[0] : "the table"}`);
  count.setAttribute("role", "status");
  line.append(input, " ", count);
  table.parentElement.before(line);
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/);
    for (const row of rows) row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
    count.textContent = input.value ? `${rows.filter((row) => !row.hidden).length} of ${rows.length}` : "";
  });
  table.addEventListener("reveal", () => {
    input.value = "";
    input.dispatchEvent(new Event("input"));
  });
}

function arrive() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const row = target?.closest("tr");
  if (!row) return;
  if (row.hidden) row.closest("table").dispatchEvent(new Event("reveal"));
  row.querySelector("details")?.setAttribute("open", "");
  row.scrollIntoView({ block: "center" });
}

for (const table of document.querySelectorAll(".table > table")) {
  const count = table.tHead && table.tBodies.length ? table.tBodies[0].rows.length : 0;
  if (count >= LEAST.sort) sortable(table);
  if (count >= LEAST.filter) filterable(table);
}
addEventListener("hashchange", arrive);
arrive();
