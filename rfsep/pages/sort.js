// Sorting of a table by the buttons that its last head row is given; the page is complete without it.
function sortable(table, sorted = () => {}) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  const key = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
  function compare(a, b) {
    if (a === "" || b === "") return (a === "") - (b === "");
    return a - b || a.localeCompare(b);
  }
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...body.rows].sort((a, b) => {
        const [x, y] = [key(a, column), key(b, column)];
        return down && x !== "" && y !== "" ? compare(y, x) : compare(x, y);
      });
      body.append(...rows);
      sorted();
    });
  });
}
