//! Source text without what does not count, and the words in it.

/// Replaces comments and the insides of strings by spaces.
pub(crate) fn bare(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let starts = |at: usize, what: &str| bytes[at..].starts_with(what.as_bytes());
    let mut at = 0;
    while at < bytes.len() {
        let from = at;
        if starts(at, "//") {
            at = text[at..].find('\n').map_or(bytes.len(), |end| at + end);
        } else if starts(at, "/*") {
            at = text[at..]
                .find("*/")
                .map_or(bytes.len(), |end| at + end + 2);
        } else if let Some(hashes) = raw_string(&text[at..]) {
            let close = format!("\"{}", "#".repeat(hashes));
            let open = at + hashes + 2;
            at = text[open..]
                .find(&close)
                .map_or(bytes.len(), |end| open + end + close.len());
        } else if bytes[at] == b'"' {
            at += 1;
            while at < bytes.len() && bytes[at] != b'"' {
                at += if bytes[at] == b'\\' { 2 } else { 1 };
            }
            at = (at + 1).min(bytes.len());
        } else if starts(at, "'\\") {
            at = text[at + 3..]
                .find('\'')
                .map_or(bytes.len(), |end| at + end + 4);
        } else if bytes[at] == b'\'' && text[at + 1..].chars().nth(1) == Some('\'') {
            at = at + 2 + text[at + 1..].chars().next().map_or(0, char::len_utf8);
        } else {
            at += 1;
            continue;
        }
        for byte in &mut out[from..at] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
    }
    String::from_utf8(out).unwrap()
}

/// The number of `#` of a raw string that begins here.
fn raw_string(text: &str) -> Option<usize> {
    let rest = text.strip_prefix('r')?;
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    rest[hashes..].starts_with('"').then_some(hashes)
}

/// Blanks modules under `#[cfg(test)]` and the like.
pub(crate) fn without_tests(code: &str) -> String {
    let mut out = code.to_owned();
    let mut from = 0;
    while let Some(found) = out[from..].find("#[cfg(") {
        let start = from + found;
        from = start + 6;
        let Some(end) = out[start..].find(']').map(|end| start + end + 1) else {
            break;
        };
        let is_test = words_of(&out[start..end]).any(|(_, word)| word == "test");
        let is_module = words_of(&out[end..])
            .map(|(_, word)| word)
            .find(|word| *word != "pub")
            == Some("mod");
        let Some(open) = out[end..].find(['{', ';']).map(|open| end + open) else {
            break;
        };
        if is_test && is_module && out[open..].starts_with('{') {
            let close = open + block(&out[open..]);
            let blank = out[start..close].replace(|c| c != '\n', " ");
            out.replace_range(start..close, &blank);
        }
    }
    out
}

/// The length of the block that begins with a brace.
fn block(text: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    text.len()
}

pub(crate) const fn in_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Each word and where it begins.
pub(crate) fn words_of(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let parts = code.split(|c| !in_word(c)).filter(|word| !word.is_empty());
    parts.map(|word| (word.as_ptr().addr() - code.as_ptr().addr(), word))
}

/// Where a word stands, which may be a path, or the beginning of one (`loom::`).
pub(crate) fn places(code: &str, word: &str) -> Vec<usize> {
    let found = code.match_indices(word).map(|(at, _)| at);
    let whole = |at: &usize| {
        let (before, after) = (&code[..*at], &code[at + word.len()..]);
        let ends = word.ends_with("::") || !after.starts_with(in_word);
        ends && !before.ends_with(in_word)
    };
    found.filter(whole).collect()
}
