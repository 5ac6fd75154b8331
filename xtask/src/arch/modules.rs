//! The modules of a package: none import each other in a circle, and in layers none imports from one above it.
//!
//! A module depends on the modules that define what its paths name: a name that a parent re-exports stands for the module it comes from.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;

/// Packages whose modules stand in layers, from the bottom to the top: a module imports from its own layer and from those before it.
pub(super) const LAYERS: [(&str, &[&str]); 1] = [(
    "crates/tensor",
    &[
        "number",
        "dual",
        "error",
        "layout",
        "geometry",
        "buffer",
        "isa",
        "check",
        "simd",
        "blocking",
        "kernels",
        "dispatch",
        "api",
        "array",
        "reference",
    ],
)];

const UPWARDS: &str = "a module imports from its own layer and from those below it";
const CIRCLE: &str = "modules never import each other in a circle";
const UNKNOWN: &str = "every module stands in a layer, in xtask's architecture check";

/// A module: its path (`conv::fold`; of the crate's root nothing), its file, its code, and where its names come from.
struct Module<'a> {
    file: &'a str,
    code: &'a str,
    /// Names that it re-exports, and their paths.
    exports: BTreeMap<String, Vec<String>>,
}

/// A path in a source, resolved to the module it leads to.
struct Import {
    to: String,
    line: usize,
    path: String,
}

/// Checks the modules of `package`, whose sources are given by name and without comments, strings and tests.
pub(super) fn check(package: &str, sources: &[(String, String)], findings: &mut Vec<Finding>) {
    let folder = format!("{package}/src/");
    let mut modules: BTreeMap<String, Module<'_>> = sources
        .iter()
        .filter_map(|(file, code)| {
            let path = file.strip_prefix(&folder)?.strip_suffix(".rs")?;
            let path = path.strip_suffix("/mod").unwrap_or(path);
            let path = if matches!(path, "lib" | "main" | "mod") { "" } else { path };
            Some((path.replace('/', "::"), Module { file, code, exports: BTreeMap::new() }))
        })
        .collect();
    let names: BTreeSet<String> = modules.keys().cloned().collect();
    for (name, module) in &mut modules {
        module.exports = exports(name, module.code, &names);
    }
    let layers = LAYERS.iter().find(|(name, _)| *name == package).map(|(_, layers)| *layers);
    let mut imports: BTreeMap<&str, Vec<Import>> =
        modules.iter().map(|(name, module)| (name.as_str(), imports(name, module.code, &modules))).collect();
    if layers.is_none() {
        // Without layers a folder's `mod.rs` may hold the trait that its files implement, and list these.
        for (name, imports) in &mut imports {
            imports.retain(|import| !format!("{name}::").starts_with(&format!("{}::", import.to)));
        }
    }
    let mut report = |module: &str, line, rule, found| {
        findings.push(Finding { file: modules[module].file.to_string(), line, rule, found });
    };
    for (from, import, circle) in circles(&imports) {
        report(from, import.line, CIRCLE, format!("`{}`: {}", import.path, circle.join(" -> ")));
    }
    let Some(layers) = layers else { return };
    // The root, which exports what callers may name, stands above all.
    let layer = |module: &str| {
        let first = module.split("::").next().unwrap_or_default();
        if first.is_empty() { Some(layers.len()) } else { layers.iter().position(|layer| *layer == first) }
    };
    for (from, imports) in imports {
        let Some(own) = layer(from) else {
            report(from, 1, UNKNOWN, format!("`{from}`"));
            continue;
        };
        for Import { to, line, path } in imports {
            if layer(&to).is_some_and(|layer| layer > own) {
                report(from, line, UPWARDS, format!("`{path}`"));
            }
        }
    }
}

/// The first import of each circle that a walk through all modules closes, and the circle.
fn circles<'a>(imports: &'a BTreeMap<&'a str, Vec<Import>>) -> Vec<(&'a str, &'a Import, Vec<&'a str>)> {
    fn walk<'a>(
        imports: &'a BTreeMap<&'a str, Vec<Import>>,
        module: &'a str,
        way: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
        found: &mut Vec<(&'a str, &'a Import, Vec<&'a str>)>,
    ) {
        way.push(module);
        for import in &imports[module] {
            if let Some(start) = way.iter().position(|module| *module == import.to) {
                let circle = way[start..].iter().copied().chain([import.to.as_str()]).collect();
                found.push((module, import, circle));
            } else if !done.contains(import.to.as_str()) {
                walk(imports, &import.to, way, done, found);
            }
        }
        way.pop();
        done.insert(module);
    }
    let (mut done, mut found) = (BTreeSet::new(), Vec::new());
    for module in imports.keys() {
        if !done.contains(module) {
            walk(imports, module, &mut Vec::new(), &mut done, &mut found);
        }
    }
    found
}

/// What a module imports from others, each once.
fn imports(name: &str, code: &str, modules: &BTreeMap<String, Module<'_>>) -> Vec<Import> {
    let names = modules.keys().cloned().collect();
    let mut seen = BTreeSet::new();
    let mut imports = Vec::new();
    for (line, path) in paths(name, code, &names) {
        let Some(to) = definition(path.clone(), modules) else { continue };
        if to != name && seen.insert(to.clone()) {
            imports.push(Import { to, line, path: path.join("::") });
        }
    }
    imports
}

/// The module that defines what an absolute path names: through re-exports, or the longest part of it that is a module. None for what
/// comes from another package.
fn definition(mut path: Vec<String>, modules: &BTreeMap<String, Module<'_>>) -> Option<String> {
    let mut is_exported = false;
    loop {
        let depth = (0..=path.len()).rev().find(|&depth| modules.contains_key(&path[..depth].join("::")))?;
        let module = path[..depth].join("::");
        let exported = path.get(depth).and_then(|name| modules[&module].exports.get(name));
        let Some(exported) = exported.filter(|exported| **exported != path[..=depth]) else {
            return (depth > 0 || !is_exported).then_some(module);
        };
        is_exported = true;
        path = exported.iter().chain(&path[depth + 1..]).cloned().collect();
    }
}

/// The names that `pub use` gives on, each with its path.
fn exports(name: &str, code: &str, names: &BTreeSet<String>) -> BTreeMap<String, Vec<String>> {
    let mut exports = BTreeMap::new();
    for statement in code.split(';') {
        let Some((before, tree)) = statement.rsplit_once("use ") else { continue };
        if !before.trim_end().ends_with("pub") && !before.trim_end().ends_with(')') {
            continue;
        }
        let is_absolute = ["crate::", "self::", "super::"].iter().any(|start| tree.starts_with(start));
        let tree = if is_absolute { tree.to_string() } else { format!("self::{tree}") };
        let renamed: BTreeMap<&str, &str> = tree
            .split(['{', '}', ','])
            .filter_map(|leaf| leaf.split_once(" as "))
            .map(|(old, new)| (old.rsplit("::").next().unwrap_or(old).trim(), new.trim()))
            .collect();
        for (_, path) in paths(name, &tree, names) {
            if let Some(last) = path.last() {
                let shown = renamed.get(last.as_str()).map_or(last.as_str(), |new| new);
                exports.insert(shown.to_string(), path.clone());
            }
        }
    }
    exports
}

/// Every path that begins with `crate`, `self`, `super` or a child module, absolute, and its line.
fn paths(module: &str, code: &str, names: &BTreeSet<String>) -> Vec<(usize, Vec<String>)> {
    let here: Vec<String> = module.split("::").filter(|part| !part.is_empty()).map(String::from).collect();
    let mut found = Vec::new();
    let mut i = 0;
    while let Some(offset) = code[i..].find(|c: char| c.is_alphabetic() || c == '_') {
        let start = i + offset;
        let word = word_at(code, start);
        i = start + word.len();
        if code[..start].trim_end().ends_with("::") || !code[i..].trim_start().starts_with("::") {
            continue;
        }
        let mut base = here.clone();
        match word {
            "crate" => base.clear(),
            "self" => base.extend(inline_modules(&code[..start])),
            "super" => {
                base.extend(inline_modules(&code[..start]));
                base.pop();
            }
            child => {
                base.push(child.to_string());
                if !names.contains(&base.join("::")) {
                    continue;
                }
            }
        }
        let mut leaves = Vec::new();
        i = tree(code, i, base, &mut leaves);
        let line = code[..start].matches('\n').count() + 1;
        found.extend(leaves.into_iter().map(|path| (line, path)));
    }
    found
}

/// The modules within the file that are open at its end.
fn inline_modules(code: &str) -> Vec<String> {
    let mut open = Vec::new();
    for (at, c) in code.char_indices() {
        match c {
            '{' => {
                let before: Vec<&str> = code[..at].split_whitespace().rev().take(2).collect();
                open.push(if let [name, "mod"] = before[..] { Some(name.to_string()) } else { None });
            }
            '}' => _ = open.pop(),
            _ => {}
        }
    }
    open.into_iter().flatten().collect()
}

/// Reads what follows a path's beginning, `::a::{b, c::d}`; adds its leaves and returns where it ends.
fn tree(code: &str, mut i: usize, mut base: Vec<String>, leaves: &mut Vec<Vec<String>>) -> usize {
    loop {
        let rest = code[i..].trim_start();
        let Some(next) = rest.strip_prefix("::").map(str::trim_start) else {
            leaves.push(base);
            return i;
        };
        i = code.len() - next.len();
        if let Some(group) = next.strip_prefix('{') {
            i = code.len() - group.len();
            loop {
                let rest = code[i..].trim_start();
                i = code.len() - rest.len();
                match rest.chars().next() {
                    None | Some('}') => return (i + 1).min(code.len()),
                    Some(c) if c.is_alphabetic() || c == '_' => {
                        let word = word_at(code, i);
                        let mut path = base.clone();
                        match word {
                            "self" | "as" => {}
                            "super" => _ = path.pop(),
                            word => path.push(word.to_string()),
                        }
                        i += word.len();
                        i = if word == "as" {
                            i + code[i..].find([',', '}']).unwrap_or(0)
                        } else {
                            tree(code, i, path, leaves)
                        };
                    }
                    Some(c) => i += c.len_utf8(),
                }
            }
        }
        match word_at(code, i) {
            // A glob, or generic arguments: the path ends here.
            "" => {
                leaves.push(base);
                return i;
            }
            "super" => _ = base.pop(),
            "self" => {}
            word => base.push(word.to_string()),
        }
        i += word_at(code, i).len();
    }
}

/// The identifier that begins here, or nothing.
fn word_at(code: &str, start: usize) -> &str {
    let rest = &code[start..];
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    &rest[..end]
}
