//! Every link in the repository's Markdown files leads somewhere, and the book has every page.
//!
//! A relative link names a file or directory of the repository; a `#fragment` names a heading of a
//! Markdown page by GitHub's rule. Links to other hosts are not followed.
//! `planted_faults_are_found` shows that each check can fail.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test and its helpers fail by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// What is made, and so not the repository's.
const MADE: &[&str] = &["target", "artifacts", "__pycache__"];
const SUMMARY: &str = "docs/SUMMARY.md";

/// A Markdown file: where its links lead, and what can be linked to in it.
#[derive(Default)]
struct Page {
    links: Vec<(usize, String)>,
    anchors: BTreeSet<String>,
}

impl Page {
    fn new(text: &str) -> Self {
        let mut page = Self::default();
        let mut heading: Option<String> = None;
        let events = Parser::new_ext(text, Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES);
        for (event, Range { start, .. }) in events.into_offset_iter() {
            match event {
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => page.add_anchor(&heading.take().unwrap()),
                Event::Text(part) | Event::Code(part) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&part);
                    }
                }
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    let line = text[..start].matches('\n').count() + 1;
                    page.links.push((line, dest_url.into_string()));
                }
                _ => {}
            }
        }
        page
    }

    /// GitHub's rule: lower case, letters, digits, `_` and `-` only, blanks as `-`; one that is there
    /// already gets a number.
    fn add_anchor(&mut self, heading: &str) {
        let kept = heading.trim().to_lowercase();
        let kept = kept.chars().filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || matches!(c, '_' | '-') => Some(c),
            _ => None,
        });
        let anchor: String = kept.collect();
        let numbers = (1..).map(|number| format!("{anchor}-{number}"));
        let mut names = std::iter::once(anchor.clone()).chain(numbers);
        let free = names.find(|name| !self.anchors.contains(name));
        self.anchors.extend(free);
    }
}

/// The files and directories below `root`, by their path from there with `/`.
struct Tree {
    paths: BTreeSet<PathBuf>,
    pages: BTreeMap<PathBuf, Page>,
}

impl Tree {
    fn read(root: &Path) -> Self {
        let mut tree = Self {
            paths: BTreeSet::from([PathBuf::new()]),
            pages: BTreeMap::new(),
        };
        tree.add(root, Path::new(""));
        tree
    }

    fn add(&mut self, root: &Path, directory: &Path) {
        for entry in root.join(directory).read_dir().unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if name.starts_with('.') || MADE.contains(&name.as_str()) {
                continue;
            }
            let path = directory.join(&name);
            if entry.file_type().unwrap().is_dir() {
                self.add(root, &path);
            } else if name.ends_with(".md") {
                let text = std::fs::read_to_string(entry.path()).unwrap();
                self.pages.insert(path.clone(), Page::new(&text));
            }
            self.paths.insert(path);
        }
    }

    /// What is wrong with the links of every page.
    fn faults(&self) -> Vec<String> {
        let pages = self.pages.iter();
        let links = pages.flat_map(|(path, page)| page.links.iter().map(move |link| (path, link)));
        let faults = links.filter_map(|(path, (line, link))| {
            let fault = self.fault(path, link)?;
            Some(format!("{}:{line}: ({link}) {fault}", path.display()))
        });
        faults.collect()
    }

    fn fault(&self, from: &Path, link: &str) -> Option<&'static str> {
        if ["http://", "https://", "mailto:"]
            .iter()
            .any(|scheme| link.starts_with(scheme))
        {
            return None;
        }
        let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
        let target = if file.is_empty() {
            from.to_owned()
        } else {
            let Some(target) = resolve(from.parent().unwrap(), file) else {
                return Some("leads out of the repository");
            };
            target
        };
        if !self.paths.contains(&target) {
            return Some("leads to no file");
        }
        let has_anchor = || {
            let page = self.pages.get(&target);
            page.is_some_and(|page| page.anchors.contains(anchor))
        };
        (!anchor.is_empty() && !has_anchor()).then_some("names no heading of that page")
    }

    /// Pages that the book's table of contents does not have.
    fn missing_in_book(&self) -> Vec<String> {
        let summary = Path::new(SUMMARY);
        let entries = self.pages[summary].links.iter();
        let entries = entries.filter_map(|(_, link)| resolve(summary.parent().unwrap(), link));
        let entries: BTreeSet<PathBuf> = entries.collect();
        let pages = self.pages.keys().filter(|path| *path != summary);
        let missing = pages.filter(|path| !entries.contains(*path));
        missing.map(|path| path.display().to_string()).collect()
    }
}

/// `directory/link` without `.` and `..`; nothing if it leads out of the repository.
fn resolve(directory: &Path, link: &str) -> Option<PathBuf> {
    let mut path = PathBuf::new();
    for part in directory.join(link).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                if !path.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(path)
}

fn repository() -> Tree {
    Tree::read(Path::new(env!("CARGO_MANIFEST_DIR")))
}

#[test]
fn every_link_leads_somewhere() {
    let tree = repository();
    let links = tree
        .pages
        .values()
        .map(|page| page.links.len())
        .sum::<usize>();
    assert!(links > 30, "only {links} links");
    let faults = tree.faults();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn the_book_has_every_page() {
    let missing = repository().missing_in_book();
    assert!(
        missing.is_empty(),
        "not in {SUMMARY}: {}",
        missing.join(", ")
    );
}

#[test]
fn planted_faults_are_found() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("docs")).unwrap();
    let readme = "# A `word`, and_more!\n# Twice\n# Twice\n[a](#a-word-and_more) [b](#twice-1)\n\
        [c](#twice-2) [d](docs/PAGE.md#page) [e](docs) [f](docs/NONE.md)\n\
        `[g](no link)` [h](https://example.org/none) [i](../out.md) [j](docs/PAGE.md#none)\n";
    let page = "# Page\n[up](../README.md)\n![picture](none.png)\n";
    std::fs::write(dir.path().join("README.md"), readme).unwrap();
    std::fs::write(dir.path().join("docs/PAGE.md"), page).unwrap();
    std::fs::write(dir.path().join(SUMMARY), "- [Readme](../README.md)\n").unwrap();
    let tree = Tree::read(dir.path());
    assert_eq!(
        tree.faults(),
        [
            "README.md:5: (#twice-2) names no heading of that page",
            "README.md:5: (docs/NONE.md) leads to no file",
            "README.md:6: (../out.md) leads out of the repository",
            "README.md:6: (docs/PAGE.md#none) names no heading of that page",
            "docs/PAGE.md:3: (none.png) leads to no file",
        ]
    );
    assert_eq!(tree.missing_in_book(), ["docs/PAGE.md"]);
}
