#!/usr/bin/env bash
# Builds the documents as a book: the path of its first page is the last line of stdout. Checks that
# every link within it leads somewhere. Installs mdbook, pinned, below target/tools.
#
#   tools/book.sh
#
# Needs: the Rust toolchain, bash, Python 3.11.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly MDBOOK_VERSION=0.5.4

if (($#)); then
  sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
mdbook=target/tools/bin/mdbook
if [[ $("$mdbook" --version 2>/dev/null) != *"v$MDBOOK_VERSION" ]]; then
  printf 'book: installing mdbook %s\n' "$MDBOOK_VERSION" >&2
  # It runs once: an optimised one is not worth its build.
  cargo install mdbook --locked --version "$MDBOOK_VERSION" --no-default-features \
    --features search --debug --quiet --root target/tools >&2
fi

book=target/book
rm -rf "$book"
mkdir -p "$book/src/docs"
cp docs/book.toml "$book/"
cp -- *.md LICENSE "$book/src/"
cp docs/*.md docs/config.* "$book/src/docs/"
# What the pages link to beside pages.
cp -r examples "$book/src/"
cp -r docs/evidence "$book/src/docs/"
{
  printf '# Configuration file\n\n```toml\n'
  cat docs/config.example.toml
  printf '```\n'
} >"$book/src/docs/config.example.md"
# Its links count from docs/; the book's pages lie one directory up.
sed -e 's|](\([a-zA-Z]\)|](docs/\1|' -e 's|](\.\./|](|' -e 's|config\.example\.toml|config.example.md|' \
  docs/SUMMARY.md >"$book/src/SUMMARY.md"
rm "$book/src/docs/SUMMARY.md"
"$mdbook" build "$book" >&2

python3 - "$book/html" <<'PYTHON' >&2
"""Every relative link of the built pages leads to a file, and to a place in it."""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

root = Path(sys.argv[1]).resolve()


class Page(HTMLParser):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.places, self.links = set(), []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attributes: list) -> None:
        for name, value in attributes:
            if name == "id":
                self.places.add(value)
            elif name in ("href", "src") and value:
                self.links.append(value)


# 404.html and print.html repeat the others with links of their own making.
names = [path for path in root.rglob("*.html") if path.name not in ("404.html", "print.html", "toc.html")]
pages = {path: Page(path) for path in names}
faults, count = [], 0
for path, page in pages.items():
    for link in page.links:
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        count += 1
        target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        if not target.exists():
            faults.append(f"{path.name}: {link}: no such file")
        elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].places:
            faults.append(f"{path.name}: {link}: no such place")
for fault in faults:
    print(f"book: {fault}")
print(f"book: {len(pages)} pages, {count} links, {len(faults)} lead nowhere")
sys.exit(bool(faults) or len(pages) < 8)
PYTHON
printf '%s\n' "$PWD/$book/html/index.html"
