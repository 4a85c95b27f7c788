(() => {
  const table = document.getElementById("ledger");
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const search = document.getElementById("ledger-search");
  const lists = [...document.querySelectorAll("select[data-filter]")];
  const count = document.getElementById("ledger-count");
  const text = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));

  const show = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const chosen = lists.every((list) => !list.value || row.dataset[list.dataset.filter] === list.value);
      row.hidden = !(chosen && words.every((word) => text.get(row).includes(word)));
      shown += !row.hidden;
    }
    count.textContent = `${shown} of ${rows.length} findings`;
    const chosen = new URLSearchParams(lists.filter((list) => list.value).map((list) => [list.dataset.filter, list.value]));
    if (search.value) chosen.set("search", search.value);
    history.replaceState(null, "", `${location.pathname}${chosen.size ? `?${chosen}` : ""}${location.hash}`);
  };

  const sort = (head) => {
    const column = head.cellIndex;
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const words = new Intl.Collator("en", { numeric: true });
    const number = (cell) => (cell.dataset.by === undefined ? NaN : Number(cell.dataset.by));
    const order = (a, b) => number(a) - number(b) || isNaN(number(a)) - isNaN(number(b)) || words.compare(a.textContent, b.textContent);
    rows.sort((a, b) => (down ? -1 : 1) * order(a.cells[column], b.cells[column]));
    body.append(...rows);
  };

  const wanted = new URLSearchParams(location.search);
  search.value = wanted.get("search") || "";
  for (const list of lists) {
    const value = wanted.get(list.dataset.filter);
    if ([...list.options].some((option) => option.value === value)) list.value = value;
    list.addEventListener("change", show);
  }
  search.addEventListener("input", show);
  for (const head of table.tHead.rows[0].cells) head.firstChild.addEventListener("click", () => sort(head));
  show();
})();
