"""sitemap.xml and robots.txt of a site whose address is known."""

from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree

NAMESPACE = "http://www.sitemaps.org/schemas/sitemap/0.9"
NO_CONTENT = {"index.html", "genindex.html", "search.html"}
"""Pages that nobody should find: index.html only leads to the first page."""


def write_sitemap(site: Path, address: str) -> list[Path]:
    """Write both files into folder ``site`` and return their paths; neither without an ``address``.

    The sitemap lists every page of the book. Search engines read robots.txt only where the site is the root of its
    host; elsewhere the sitemap is to be handed to them by its address.
    """
    if not address:
        return []
    pages = sorted(page.relative_to(site) for page in site.rglob("*.html"))
    found = [page for page in pages if page.parts[0] != "_static" and page.as_posix() not in NO_CONTENT]
    ElementTree.register_namespace("", NAMESPACE)
    root = ElementTree.Element(f"{{{NAMESPACE}}}urlset")
    for page in found:
        entry = ElementTree.SubElement(root, f"{{{NAMESPACE}}}url")
        ElementTree.SubElement(entry, f"{{{NAMESPACE}}}loc").text = f"{address}/{quote(page.as_posix())}"
    ElementTree.indent(root)
    sitemap, robots = site / "sitemap.xml", site / "robots.txt"
    sitemap.write_bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n")
    robots.write_text(f"User-agent: *\nAllow: /\nSitemap: {address}/{sitemap.name}\n", encoding="utf-8")
    return [sitemap, robots]
