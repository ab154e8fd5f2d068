// Sorts a table by the column whose head is clicked: numbers the largest first, then the other way.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.addEventListener("click", () => {
    const body = table.tBodies[0];
    const read = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
    const rows = [...body.rows];
    const asNumber = (text) => text === "–" || text === "" ? -Infinity : Number(text.replaceAll(",", ""));
    const numeric = rows.every((row) => !Number.isNaN(asNumber(read(row))));
    const up = head.getAttribute("aria-sort") === (numeric ? "descending" : null);
    const order = numeric
      ? (a, b) => asNumber(read(a)) - asNumber(read(b))
      : (a, b) => read(a).localeCompare(read(b), undefined, {numeric: true});
    const ascending = numeric ? up : head.getAttribute("aria-sort") !== "ascending";
    rows.sort((a, b) => ascending ? order(a, b) : order(b, a));
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    body.append(...rows);
  }));
}
