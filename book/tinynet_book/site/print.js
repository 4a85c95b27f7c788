// Replaces the first page by the whole book, ready to print. Returns the addresses of what is missing.
async ({ address, style }) => {
  const name = (url) => "page" + url.pathname.replace(/\.html$/, "").replace(/\W+/g, "-");
  const inside = (page, id) => `${name(page.url)}--${id}`;
  const missing = [];

  async function read(url) {
    const answer = await fetch(url);
    if (!answer.ok) {
      missing.push(url.pathname);
      return null;
    }
    const whole = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!whole.querySelector("article.bd-article")) {
      missing.push(`the article of ${url.pathname}`);
      return null;
    }
    const next = whole.querySelector('link[rel="next"]');
    return { url, whole, next: next && new URL(next.getAttribute("href"), url) };
  }

  const pages = new Map();
  for (let url = new URL(location.href); url && !pages.has(url.pathname); ) {
    const page = await read(url);
    if (!page) return missing;
    pages.set(url.pathname, page);
    url = page.next;
  }

  // Links between pages lead to their place in the book, links to other files of the site to where it is published.
  function relink(element, page) {
    for (const link of element.querySelectorAll("a[href]")) {
      const url = new URL(link.getAttribute("href"), page.url);
      if (url.origin !== location.origin) continue;
      const target = pages.get(url.pathname);
      if (target) link.href = "#" + (url.hash ? inside(target, decodeURIComponent(url.hash.slice(1))) : name(url));
      else if (address) link.href = address + url.pathname + url.hash;
      else link.removeAttribute("href");
    }
  }

  function article(page) {
    const content = page.whole.querySelector("article.bd-article");
    content.querySelectorAll("script, iframe, .headerlink, details.above-input").forEach((part) => part.remove());
    content.querySelectorAll("noscript").forEach((part) => part.replaceWith(...part.childNodes));
    content.querySelectorAll("[id]").forEach((part) => (part.id = inside(page, part.id)));
    content.querySelectorAll("details").forEach((part) => (part.open = true));
    for (const image of content.querySelectorAll("img[src]")) {
      image.src = new URL(image.getAttribute("src"), page.url).href;
      image.loading = "eager";
    }
    relink(content, page);
    content.id = name(page.url);
    return content;
  }

  function cover(page) {
    const head = document.createElement("header");
    const title = document.createElement("p");
    title.className = "book-title";
    title.textContent = document.title;
    const contents = page.whole.querySelector("nav.bd-docs-nav .bd-toc-item");
    if (contents) relink(contents, page);
    head.append(title, ...(contents ? [contents] : []));
    return head;
  }

  document.title = document.title.split(" \u2014 ").at(-1);
  const book = document.createElement("main");
  const [first] = pages.values();
  book.append(cover(first), ...[...pages.values()].map(article));
  const sheet = document.createElement("style");
  sheet.textContent = style;
  document.head.append(sheet);
  if (window.MathJax?.startup?.promise) await window.MathJax.startup.promise;
  document.body.replaceChildren(book);
  if (book.querySelector(".math")) {
    if (window.MathJax?.typesetPromise) await window.MathJax.typesetPromise([book]);
    else missing.push("MathJax");
  }
  await Promise.all([...document.images].map((image) => image.decode().catch(() => missing.push(image.src))));
  await document.fonts.ready;
  return missing;
}
