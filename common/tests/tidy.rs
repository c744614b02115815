//! The code's own style, checked: sizes, opening comments, the scheduler's purity, manifests.
//!
//! A scanner that knows comments, strings and characters is enough here; it does not expand macros.
//! All violations are listed at once, as `file:line: what`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 500;
const TEST_FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;
const LINE_CHARS_MAX: usize = 100;

/// What the scheduler may not name: it gets time as an argument and does nothing but compute. A
/// hash map's order is random, and the same events must give the same result.
const IMPURE_WORDS: [&str; 11] = [
    "HashMap",
    "HashSet",
    "Instant",
    "SystemTime",
    "prost",
    "rand",
    "rusqlite",
    "rustix",
    "sqlx",
    "tokio",
    "tonic",
];
/// The parts of `std` that the scheduler may not reach, by a path or by an import.
const IMPURE_STD: [&str; 7] = ["env", "fs", "io", "net", "os", "process", "thread"];
/// Packages that build on a machine without libtorch, and what would end that.
const PACKAGES_WITHOUT_LIBTORCH: [&str; 5] =
    ["common", "coordinator", "coordinator/scheduler", "simulation", "worker"];
const LIBTORCH_PACKAGES: [&str; 4] = ["tch", "torch-sys", "gradnet", "trainer"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Source text with the content of comments, strings and characters blanked, line by line equal.
fn masked(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut out: Vec<char> = Vec::with_capacity(chars.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at);
        if end > at {
            out.extend(chars[at..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
            at = end;
        } else {
            out.push(chars[at]);
            at += 1;
        }
    }
    out.into_iter().collect()
}

/// Where the comment, string or character that starts at `at` ends; `at` if none starts there.
fn literal_end(chars: &[char], at: usize) -> usize {
    let next = chars.get(at + 1).copied();
    match chars[at] {
        '/' if next == Some('/') => line_end(chars, at),
        '/' if next == Some('*') => block_comment_end(chars, at),
        '"' => string_end(chars, at),
        '\'' => character_end(chars, at),
        'r' if at == 0 || !is_word(chars[at - 1]) || is_string_prefix(chars, at) => {
            raw_string_end(chars, at)
        }
        _ => at,
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether the `r` at `at` is the second letter of `br` or `cr`.
fn is_string_prefix(chars: &[char], at: usize) -> bool {
    matches!(chars[at - 1], 'b' | 'c') && (at == 1 || !is_word(chars[at - 2]))
}

fn line_end(chars: &[char], at: usize) -> usize {
    chars[at..].iter().position(|&c| c == '\n').map_or(chars.len(), |length| at + length)
}

fn block_comment_end(chars: &[char], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0usize);
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (at, depth) = (at + 2, depth + 1),
            ('*', Some('/')) => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    chars.len()
}

fn string_end(chars: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// A lifetime is no character: `'a` has no quote after its letter.
fn character_end(chars: &[char], start: usize) -> usize {
    match (chars.get(start + 1), chars.get(start + 2)) {
        (Some('\\'), Some(_)) => {
            let close = chars[start + 3..].iter().position(|&c| c == '\'');
            close.map_or(chars.len(), |length| start + 3 + length + 1)
        }
        (Some(_), Some('\'')) => start + 3,
        _ => start,
    }
}

/// `r#"…"#`; a raw identifier such as `r#fn` is left as it is.
fn raw_string_end(chars: &[char], start: usize) -> usize {
    let hashes = chars[start + 1..].iter().take_while(|&&c| c == '#').count();
    let open = start + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return start;
    }
    let closes = |at: &usize| {
        chars[*at] == '"'
            && chars[at + 1..].iter().take(hashes).filter(|&&c| c == '#').count() == hashes
    };
    (open + 1..chars.len()).find(closes).map_or(chars.len(), |at| at + 1 + hashes)
}

/// A word of the masked text: its first character's index and its line, from 1.
struct Word {
    text: String,
    at: usize,
    line: usize,
}

fn words(chars: &[char]) -> Vec<Word> {
    let mut found: Vec<Word> = Vec::new();
    let (mut line, mut inside) = (1, false);
    for (at, &c) in chars.iter().enumerate() {
        if !is_word(c) {
            inside = false;
            line += usize::from(c == '\n');
        } else if inside {
            found.last_mut().expect("a word was begun").text.push(c);
        } else {
            inside = true;
            found.push(Word { text: c.into(), at, line });
        }
    }
    found
}

/// A function with a body, by its name and its first and last line.
#[derive(PartialEq, Eq, Debug)]
struct Function {
    name: String,
    first: usize,
    last: usize,
}

fn functions(masked: &str) -> Vec<Function> {
    let chars: Vec<char> = masked.chars().collect();
    let words = words(&chars);
    let mut found = Vec::new();
    for pair in words.windows(2).filter(|pair| pair[0].text == "fn") {
        let between = &chars[pair[0].at + 2..pair[1].at];
        // `fn(A) -> B` is a type, not a function.
        if !between.iter().all(|c| c.is_whitespace()) {
            continue;
        }
        if let Some(lines) = body_lines(&chars[pair[1].at..]) {
            let last = pair[1].line + lines;
            found.push(Function { name: pair[1].text.clone(), first: pair[0].line, last });
        }
    }
    found
}

/// How many lines below its start the body of a signature ends; nothing for a declaration.
fn body_lines(chars: &[char]) -> Option<usize> {
    let (mut braces, mut nested, mut lines) = (0usize, 0usize, 0usize);
    for &c in chars {
        match c {
            '\n' => lines += 1,
            '(' | '[' => nested += 1,
            ')' | ']' => nested = nested.saturating_sub(1),
            // The `;` of `[u8; 4]` ends no declaration.
            ';' if braces == 0 && nested == 0 => return None,
            '{' => braces += 1,
            '}' => {
                braces = braces.saturating_sub(1);
                if braces == 0 {
                    return Some(lines);
                }
            }
            _ => {}
        }
    }
    None
}

fn is_test_file(path: &str) -> bool {
    let folders = ["/tests/", "/benches/"];
    folders.iter().any(|folder| path.contains(folder)) || path.ends_with("/tests.rs")
}

/// Everything about one source file but the scheduler's purity.
fn style_violations(path: &str, source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let masked = masked(source);
    if !source.starts_with("//!") {
        found.push(format!("{path}:1: does not open with `//!` and its purpose"));
    }
    let lines = source.lines().count();
    let lines_max = if is_test_file(path) { TEST_FILE_LINES_MAX } else { FILE_LINES_MAX };
    if lines > lines_max {
        found.push(format!("{path}:{lines}: the file has {lines} lines, at most {lines_max}"));
    }
    for (index, line) in source.lines().enumerate() {
        let length = line.chars().count();
        if length > LINE_CHARS_MAX {
            found.push(format!("{path}:{}: {length} characters in a line", index + 1));
        }
        if [concat!("TO", "DO"), concat!("FIX", "ME")].iter().any(|mark| line.contains(mark)) {
            found.push(format!("{path}:{}: a note of unfinished work", index + 1));
        }
    }
    for function in functions(&masked) {
        let length = function.last - function.first + 1;
        if length > FUNCTION_LINES_MAX {
            let (name, line) = (function.name, function.first);
            found.push(format!(
                "{path}:{line}: `{name}` has {length} lines, at most {FUNCTION_LINES_MAX}"
            ));
        }
    }
    for (index, line) in masked.lines().enumerate() {
        for forbidden in ["#[ignore", "todo!", "unimplemented!"] {
            if line.contains(forbidden) {
                found.push(format!("{path}:{}: `{forbidden}`", index + 1));
            }
        }
    }
    found
}

/// What would make the scheduler depend on more than its arguments.
fn purity_violations(path: &str, source: &str) -> Vec<String> {
    let masked = masked(source);
    let chars: Vec<char> = masked.chars().collect();
    let words = words(&chars);
    let mut found = Vec::new();
    for word in words.iter().filter(|word| IMPURE_WORDS.contains(&word.text.as_str())) {
        found.push(format!("{path}:{}: `{}` in the scheduler", word.line, word.text));
    }
    for (index, word) in words.iter().enumerate().filter(|(_, word)| word.text == "std") {
        let imported = index > 0 && words[index - 1].text == "use";
        let statement = chars[word.at..].iter().position(|&c| c == ';').unwrap_or(chars.len());
        let reached = if imported { statement } else { 0 };
        for (distance, part) in words[index + 1..].iter().enumerate() {
            // A path reaches its next part alone, an import everything up to its end.
            if distance > 0 && part.at - word.at > reached {
                break;
            }
            if IMPURE_STD.contains(&part.text.as_str()) {
                found.push(format!("{path}:{}: `std::{}` in the scheduler", part.line, part.text));
            }
        }
    }
    found
}

/// The dependencies of a manifest: section, name, line number, and what the line says of it.
fn dependencies(manifest: &str) -> Vec<(String, String, usize, String)> {
    let (mut found, mut section) = (Vec::new(), String::new());
    for (index, line) in manifest.lines().enumerate() {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_end_matches(']').to_string();
        } else if section.ends_with("dependencies") && !line.is_empty() && !line.starts_with('#') {
            let (key, value) = line.split_once('=').unwrap_or((line, ""));
            let (name, attribute) = key.trim().split_once('.').unwrap_or((key.trim(), ""));
            let text = format!("{attribute} {}", value.trim()).trim().to_string();
            found.push((section.clone(), name.to_string(), index + 1, text));
        }
    }
    found
}

/// `package` is the manifest's folder below the root.
fn manifest_violations(package: &str, manifest: &str) -> Vec<String> {
    let mut found = Vec::new();
    let path = format!("{package}/Cargo.toml");
    for (section, name, line, text) in dependencies(manifest) {
        let of_workspace = text == "workspace true" || text.starts_with("{ workspace = true");
        if !of_workspace || text.contains("version") {
            found.push(format!(
                "{path}:{line}: `{name}`: its version is the root manifest's to say"
            ));
        }
        let without_libtorch = PACKAGES_WITHOUT_LIBTORCH.contains(&package);
        if without_libtorch && LIBTORCH_PACKAGES.contains(&name.as_str()) {
            found.push(format!(
                "{path}:{line}: `{name}` needs libtorch, `{package}` builds without"
            ));
        }
        let pure = package != "coordinator/scheduler" || section.ends_with("dev-dependencies");
        if !pure && (name != "common" || text != "workspace true") {
            found.push(format!("{path}:{line}: the scheduler depends on plain `common` alone"));
        }
    }
    found
}

/// The files below `folder` whose name ends in `suffix`, by their path below the root.
fn files(folder: &Path, suffix: &str, into: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).expect("a folder of the workspace can be read") {
        let path = entry.expect("its entries too").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        // The fuzz targets are a workspace of their own, with a folder of builds of its own.
        let is_built = name == "target" && path.join("../Cargo.lock").exists();
        let is_left_out = ["dist", "data"].contains(&name) && is_at_root(&path);
        if name.starts_with('.') || is_built || is_left_out {
            continue;
        }
        if path.is_dir() {
            files(&path, suffix, into);
        } else if name.ends_with(suffix) {
            let below = path.strip_prefix(root()).expect("it lies below the root");
            let text = fs::read_to_string(&path).expect("sources are UTF-8");
            into.insert(below.to_string_lossy().into_owned(), text);
        }
    }
}

fn is_at_root(path: &Path) -> bool {
    path.parent() == Some(&root())
}

fn read_all(suffix: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    files(&root(), suffix, &mut found);
    found
}

#[test]
fn the_workspace_is_tidy() {
    let mut found = Vec::new();
    let sources = read_all(".rs");
    for (path, source) in &sources {
        found.extend(style_violations(path, source));
        if path.starts_with("coordinator/scheduler/src/") {
            found.extend(purity_violations(path, source));
        }
    }
    let manifests = read_all("Cargo.toml");
    // The fuzz targets are a workspace of their own, which cannot inherit.
    let is_member = |path: &str| path != "Cargo.toml" && path != "fuzz/Cargo.toml";
    for (path, manifest) in manifests.iter().filter(|(path, _)| is_member(path)) {
        let package = path.trim_end_matches("/Cargo.toml");
        found.extend(manifest_violations(package, manifest));
    }
    assert!(sources.contains_key("coordinator/scheduler/src/lib.rs"), "the walk missed sources");
    assert!(manifests.contains_key("coordinator/scheduler/Cargo.toml"), "it missed manifests");
    assert!(found.is_empty(), "{} violations:\n{}", found.len(), found.join("\n"));
}

#[test]
fn masking_keeps_code_and_lines_and_drops_the_rest() {
    let source = "let a = \"{ \\\" fn\"; // }\nlet b = '{'; let c: &'a str = r#\"} \" \"#;\n\
                  /* { /* nested */ } */ let d = '\\''; let e = b\"}\"; let r#fn = br\"\\\"; x";
    let expected =
        "let a = ; \nlet b = ; let c: &'a str = ;\n let d = ; let e = b; let r#fn = b; x";
    let squeezed = |text: &str| {
        let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        lines.collect::<Vec<_>>().join("\n").replace(" ;", ";")
    };
    assert_eq!(squeezed(&masked(source)), squeezed(expected));
    assert_eq!(masked(source).chars().count(), source.chars().count());
}

#[test]
fn functions_are_found_with_their_lines() {
    let source = "trait T { fn declared(x: [u8; 4]) -> u8; }\n\
                  fn outer(f: fn(u8) -> u8) -> [u8; 2]\nwhere\n    u8: Copy,\n{\n\
                  \x20   fn inner() {}\n    let text = \"}\";\n}\n\
                  impl X { pub async fn one() { '}'; } }\n";
    let expected = [("outer", 2, 8), ("inner", 6, 6), ("one", 9, 9)];
    let expected = expected.map(|(name, first, last)| Function { name: name.into(), first, last });
    assert_eq!(functions(&masked(source)), expected);
}

#[test]
fn each_style_rule_can_fail() {
    let long_function = format!("//! A.\nfn long() {{\n{}}}\n", "    f();\n".repeat(69));
    let long_file = format!("//! A.\n{}", "//\n".repeat(500));
    let long_line = format!("//! A.\n// {}\n", "x".repeat(98));
    let ignored = "//! A.\n#[test]\n#[ignore]\nfn a() { todo!() }\n";
    let cases = [
        ("fn a() {}\n", "a/src/x.rs:1: does not open"),
        (long_function.as_str(), "a/src/x.rs:2: `long` has 71 lines"),
        (long_file.as_str(), "a/src/x.rs:501: the file has 501 lines"),
        (long_line.as_str(), "a/src/x.rs:2: 101 characters"),
        (ignored, "a/src/x.rs:3: `#[ignore`"),
        (ignored, "a/src/x.rs:4: `todo!`"),
        (concat!("//! A.\n// TO", "DO: later\n"), "a/src/x.rs:2: a note of unfinished work"),
    ];
    for (source, expected) in cases {
        let found = style_violations("a/src/x.rs", source);
        assert!(found.iter().any(|line| line.starts_with(expected)), "{expected}: {found:?}");
    }
    let at_the_limits = format!("//! A.\nfn long() {{\n{}}}\n", "    f();\n".repeat(68));
    assert_eq!(style_violations("a/src/x.rs", &at_the_limits), Vec::<String>::new());
    assert_eq!(style_violations("a/tests/x.rs", &long_file), Vec::<String>::new());
}

#[test]
fn each_way_out_of_the_pure_scheduler_is_seen() {
    let impure = [
        "use std::time::Instant;",
        "use std::{collections::BTreeMap, fs};",
        "use std::{\n    env,\n};",
        "fn f() { std::thread::spawn(g); }",
        "fn f() { let t = tokio::time::sleep(d); }",
        "use rand::Rng;",
        "use std::collections::HashMap;",
        "fn now() -> SystemTime { SystemTime::now() }",
    ];
    for source in impure {
        assert!(!purity_violations("s.rs", source).is_empty(), "{source}");
    }
    let pure = "//! No tokio, no std::fs.\n\
                use std::collections::BTreeMap;\nuse std::time::Duration;\n\
                fn env(fs: &str) -> &str { \"std::env\" }\n\
                fn rand_free() { let net = std::mem::take(x); }";
    assert_eq!(purity_violations("s.rs", pure), Vec::<String>::new());
}

#[test]
fn each_manifest_rule_can_fail() {
    let cases = [
        ("worker", "[dependencies]\ntokio = \"1\"\n", "worker/Cargo.toml:2: `tokio`"),
        ("worker", "[dependencies]\na = { version = \"1\" }\n", "worker/Cargo.toml:2: `a`"),
        (
            "worker",
            "[dev-dependencies]\ntch.workspace = true\n",
            "worker/Cargo.toml:2: `tch` needs",
        ),
        (
            "coordinator/scheduler",
            "[dependencies]\ncommon = { workspace = true, features = [\"edge\"] }\n",
            "coordinator/scheduler/Cargo.toml:2: the scheduler depends",
        ),
        (
            "coordinator/scheduler",
            "[dependencies]\n# a reason\nserde.workspace = true\n",
            "coordinator/scheduler/Cargo.toml:3: the scheduler depends",
        ),
    ];
    for (package, manifest, expected) in cases {
        let found = manifest_violations(package, manifest);
        assert!(found.iter().any(|line| line.starts_with(expected)), "{expected}: {found:?}");
    }
    let right = "[dependencies]\ncommon.workspace = true\n[dev-dependencies]\n\
                 proptest = { workspace = true, features = [\"std\"] }\n";
    assert_eq!(manifest_violations("coordinator/scheduler", right), Vec::<String>::new());
    assert_eq!(
        manifest_violations("worker/trainer", "[dependencies]\ntch.workspace = true\n").len(),
        0
    );
}
